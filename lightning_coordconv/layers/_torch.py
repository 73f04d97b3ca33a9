"""Wraps torch's private names: functions, version flags, and bases that convolve or record coordinates in state dicts.

``tests/layers/test_torch_names.py`` fails with a sentence when a new version of torch has dropped one of them.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.common_types import _size_1_t as Size1
from torch.nn.common_types import _size_2_t as Size2
from torch.nn.common_types import _size_3_t as Size3
from torch.nn.modules.conv import _ConvNd as ConvNd
from torch.nn.modules.conv import _ConvTransposeNd as ConvTransposeNd
from torch.utils._python_dispatch import _disable_current_modes

__all__ = [
    "TRACES_CONTEXT_VARIABLES",
    "ConvNd",
    "ConvTransposeNd",
    "RecordsCoordinates",
    "Size1",
    "Size2",
    "Size3",
    "TorchConvolution",
    "autocast_is_active",
    "backward_pass",
    "has_forward_hooks",
    "output_padding",
    "overridden",
    "padding_of_other_modes",
    "transforms_are_active",
    "values_are_known",
    "without_dispatch_modes",
]

REQUIRED = {
    "torch.nn.common_types._size_1_t": "types of arguments, with _size_2_t and _size_3_t",
    "torch.nn.modules.conv._ConvNd": "base class of torch's convolutions",
    "torch.nn.modules.conv._ConvTransposeNd": "base class of torch's transposed convolutions",
    "torch.nn.Conv2d._conv_forward": "a convolution with another bias than the layer's own",
    "torch.nn.ConvTranspose2d._output_padding": "the output padding that gives a requested output size",
    "torch.nn.Module._load_from_state_dict": "reading a layer's part of a state dict, with its _metadata",
    "torch.nn.Module._replicate_for_data_parallel": "the copy of a layer that DataParallel runs in another thread",
    "torch._C._are_functorch_transforms_active": "whether a transform of torch.func is running",
    "torch._C._current_graph_task_id": "which backward pass is running, if any, as torch.utils.checkpoint asks too",
    "torch._C._is_any_autocast_enabled": "whether autocast is on, faster than the public functions",
    "torch.utils._python_dispatch._disable_current_modes": "building tensors outside of tracing modes",
}
"""Private names and what they are used for. Set on instances: ``_reversed_padding_repeated_twice`` of ``Conv2d(...)``,
``_forward_hooks`` and ``_forward_pre_hooks`` of each module."""

COORDINATES = "coordinates"
"""Key of a module's metadata in a state dict; see :class:`RecordsCoordinates`."""

_VERSION = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])

TRACES_CONTEXT_VARIABLES = _VERSION >= (2, 15)
"""Whether ``torch.compile`` can read a ``contextvars.ContextVar``. Torch 2.11 cannot, 2.15 can (both tried)."""

SAVES_VIEWS = _VERSION >= (2, 15)
"""Whether ``torch.compile`` can save a view of unknown sizes for the backward pass. Torch 2.11 cannot, 2.15 can."""

transforms_are_active: Callable[[], bool] = torch._C._are_functorch_transforms_active
"""Return whether a transform of ``torch.func`` is running: what ``torch.autograd.Function.apply`` asks too."""

autocast_is_active: Callable[[], bool] = torch._C._is_any_autocast_enabled
"""Return whether autocast is on, for any device."""


def backward_pass() -> int | None:
    """Return the number of the backward pass that runs the code that asks, in this thread; None outside of any."""
    number = torch._C._current_graph_task_id()
    return None if number == -1 else number


def values_are_known(tensor: Tensor) -> bool:
    """Return whether the values of a tensor can be read without waiting for a device, and outside of any tracing."""
    return (
        not torch.compiler.is_compiling()
        and type(tensor) in (Tensor, nn.Parameter)
        and tensor.device.type == "cpu"
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        and not transforms_are_active()
    )


def without_dispatch_modes() -> AbstractContextManager[object]:
    """Return a context in which no mode (fake tensors, tracing) changes what operators return."""
    return cast(AbstractContextManager[object], _disable_current_modes())


def output_padding(layer: Any, input: Tensor, output_size: list[int] | None) -> list[int]:
    """Return the output padding with which a transposed convolution gives ``output_size``.

    Raises:
        ValueError: If no output padding gives that size.
    """
    n = len(layer.kernel_size)
    args = (layer.stride, layer.padding, layer.kernel_size, n, layer.dilation)
    return cast(list[int], layer._output_padding(input, output_size, *args))


def padding_of_other_modes(layer: Any) -> tuple[int, ...]:
    """Return the padding of a convolution whose ``padding_mode`` is not zeros, as ``torch.nn.functional.pad`` takes it.

    Torch computes it in the constructor and ignores later changes of ``padding``; the coordinates have to follow.
    """
    return tuple(layer._reversed_padding_repeated_twice)


def has_forward_hooks(module: nn.Module, before: bool = False) -> bool:
    """Return whether something was registered that may change what a module returns, or, ``before`` it, receives."""
    return bool(module._forward_pre_hooks if before else module._forward_hooks)


def overridden(kind: type[nn.Module], torch_class: type[nn.Module]) -> list[str]:
    """Return which of the methods that compute a convolution a class does not inherit from torch's class."""
    names = ("forward", "_conv_forward")
    return [name for name in names if getattr(kind, name, None) is not getattr(torch_class, name, None)]


class RecordsCoordinates(nn.Module):
    """A module whose state dicts say which coordinates it sees, and which refuses those of other coordinates.

    The record is in the metadata that torch saves with every state dict, under the key :data:`COORDINATES`, so the keys
    of a state dict are those of the parameters. A state dict without it loads as ever: one of a plain convolution, one
    that was written before, and one whose metadata was dropped, as by ``dict(state_dict)`` and by safetensors.
    """

    def describe_coordinates(self) -> str:
        """Return the coordinates that the module sees, as a short text."""
        raise NotImplementedError(f"{type(self).__name__} must define describe_coordinates()")

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Return what torch does, with a record of the coordinates in its metadata."""
        found = super().state_dict(*args, **kwargs)
        metadata = getattr(found, "_metadata", None)
        if metadata is not None:
            prefix = kwargs.get("prefix", args[1] if len(args) > 1 else "")
            metadata.setdefault(prefix[:-1], {})[COORDINATES] = self.describe_coordinates()
        return found

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *args: Any
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)
        saved, own = local_metadata.get(COORDINATES), self.describe_coordinates()
        if saved not in (None, own):
            errors: list[str] = args[-1]
            errors.append(
                f"{prefix[:-1] or type(self).__name__} was saved with the coordinates {saved} and sees {own} now; if "
                "that is meant, load dict(state_dict), which holds no record of them"
            )


class TorchConvolution(ConvNd):
    """A convolution that may get another bias, complete its part of a state dict, or refuse to be copied."""

    def convolve(self, input: Tensor, bias: Tensor | None, output_padding: Sequence[int] | None) -> Tensor:
        """Return what the torch class computes, with ``bias`` in place of the layer's bias.

        For a CPU ``torch.compile`` gives maps channels last, but leaves maps of one channel as they are, because their
        elements are in the same order either way. A CPU convolves them faster with the strides of channels last: on two
        threads, a compiled training step of CoordConv2d took 0.20 instead of 1.11 times as long as one of ``Conv2d``
        for 32 x 1 x 64 x 64 and a 1x1 kernel, 0.77 instead of 1.13 times for 4 x 1 x 224 x 224, 7x7 and stride 2, and
        0.88 instead of 1.11 times for 64 x 1 x 28 x 28 and 3x3.
        """
        one_channel = self.in_channels == 1 and len(self.kernel_size) == 2 and input.dim() == 4
        if not (one_channel and SAVES_VIEWS and torch.compiler.is_dynamo_compiling() and input.is_cpu):
            return self._conv_forward(input, self.weight, bias)
        channels_last = input.squeeze(1).unsqueeze(-1).movedim(-1, 1)
        out: Tensor = self._conv_forward(channels_last, self.weight, bias)
        return out if channels_last.stride() == input.stride() else out.contiguous()

    def complete_state_dict(self, state_dict: dict[str, Any], prefix: str) -> dict[str, Any]:
        """Return the state dict to load in place of the given one."""
        return state_dict

    def check_replication(self) -> None:
        """Raise an error if a copy of this layer cannot run in another thread."""

    def _replicate_for_data_parallel(self) -> Any:
        self.check_replication()
        return super()._replicate_for_data_parallel()  # type: ignore[no-untyped-call]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(self.complete_state_dict(state_dict, prefix), prefix, *args)
