"""Base class and functions that refuse fusion by others, MKL-DNN, scripting, quantised input and a replaced forward.

Torch and other libraries replace convolutions by code that reads ``weight``, ``bias`` and the geometry
and knows of no coordinate bias. Where they call a method of the layer on the way, the layer refuses. Where they do not,
nothing can; ``docs/compatibility.md`` lists those.
"""

import inspect
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

FUSIONS = ("torch.nn.utils.fusion", "ultralytics.utils.torch_utils")
"""Modules whose functions fuse batch norm into a layer by setting its ``weight`` and ``bias``."""
MKLDNN = "torch.utils.mkldnn"


class GuardedModule(nn.Module):
    """A module that refuses to be fused by torch or Ultralytics, converted to MKL-DNN, or scripted."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse a weight or bias that a fusion with batch norm sets: it leaves the coordinate bias unscaled."""
        if name in ("weight", "bias") and (caller := _caller()) in FUSIONS:
            raise RuntimeError(
                f"the fusion with batch norm of {caller} does not scale the coordinate bias of {type(self).__name__}; "
                "use lightning_coordconv.fuse_conv_bn(conv, bn)"
            )
        super().__setattr__(name, value)

    def named_children(self) -> Iterator[tuple[str, nn.Module]]:
        """Refuse ``torch.utils.mkldnn.to_mkldnn``, which has just copied the weight and bias of this layer."""
        if _caller() == MKLDNN:
            raise RuntimeError(
                f"to_mkldnn drops the coordinate bias of {type(self).__name__}; leave this layer out, or compile the "
                "model with torch.compile instead"
            )
        return super().named_children()

    def __prepare_scriptable__(self) -> nn.Module:
        """Refuse ``torch.jit.script``, which calls this method first."""
        raise RuntimeError(
            f"torch.jit.script cannot compile {type(self).__name__}; use torch.export or torch.jit.trace"
        )


def _caller() -> str:
    """Return the name of the module whose code called the method that calls this function."""
    frame = inspect.currentframe()
    for _ in range(2):
        frame = None if frame is None else frame.f_back
    return "" if frame is None else str(frame.f_globals.get("__name__"))


def check_forward(module: nn.Module, name: str) -> None:
    """Refuse a convolution whose ``forward`` was replaced on the instance, as the hooks of accelerate do.

    Such a layer goes on calling the ``forward`` that it had before a conversion.

    Raises:
        ValueError: If the module has a ``forward`` that is not its class's.
    """
    if "forward" in vars(module):
        raise ValueError(
            f"the forward method of {name} was replaced on the instance, as the hooks of accelerate do; convert, fold "
            "or fuse the model before that, or remove the hooks with "
            "accelerate.hooks.remove_hook_from_module(model, recurse=True)"
        )


def check_not_quantised(x: Tensor, name: str) -> None:
    """Refuse a quantised tensor.

    Raises:
        TypeError: If it is quantised.
    """
    if x.is_quantized:
        raise TypeError(
            f"{name} computes in floating point, but got a quantised tensor ({x.dtype}); put a DeQuantStub in front of "
            "the layer and a QuantStub after it, and set its qconfig to None"
        )
