"""Error and context managers for networks that return NaN or infinity (refuse, collect), and functions to find it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

DETECTOR = ("backbone", "head", "box_predictor", "mask_predictor", "keypoint_predictor")
"""Names of the parts of torchvision's detectors that compute what these select from: a box that is NaN is dropped."""


class UndefinedOutputError(FloatingPointError):
    """A network returned NaN or infinity where a prediction was wanted."""


def is_undefined(values: Tensor) -> Tensor:
    """Return where values are NaN or +infinity. -infinity is what masked classes have, of probability zero."""
    return values.isnan() | (values == torch.inf)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the floating-point tensors in nested dicts, lists and tuples."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from tensors_in(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from tensors_in(entry)


@contextmanager
def defined_outputs(task: nn.Module) -> Iterator[None]:
    """Return a context in which the networks of a task raise an error where they return NaN or infinity.

    Looked at are the outputs of its networks, and of the parts of a detector. The values are read from the device.

    Args:
        task: its children are the networks.

    Raises:
        UndefinedOutputError: naming the network.
    """

    def check(module: nn.Module, output: Any) -> None:
        if any(bool(is_undefined(tensor).any()) for tensor in tensors_in(output)):
            raise UndefinedOutputError(
                f"{type(module).__name__} returned NaN or infinity, so there is no prediction: its weights or its "
                "input are not finite, or it overflows in this precision"
            )

    with _watched(task, check):
        yield


@contextmanager
def undefined_outputs(task: nn.Module) -> Iterator[list[Tensor]]:
    """Return a context that collects whether the networks of a task return NaN or infinity, as :func:`defined_outputs`.

    Args:
        task: its children are the networks.

    Yields:
        A boolean () for each output so far, on its device: nothing is read.
    """
    found: list[Tensor] = []

    def note(module: nn.Module, output: Any) -> None:
        found.extend(is_undefined(tensor).any() for tensor in tensors_in(output))

    with _watched(task, note):
        yield found


@contextmanager
def _watched(task: nn.Module, see: Callable[[nn.Module, Any], None]) -> Iterator[None]:
    watched = [part for name, part in task.named_modules() if name and ("." not in name or _is_of_detector(name))]
    handles = [part.register_forward_hook(lambda module, arguments, output: see(module, output)) for part in watched]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _is_of_detector(name: str) -> bool:
    return name.rpartition(".")[2] in DETECTOR
