"""Error and context manager for a task's networks that return NaN or infinity, and functions that find such values."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


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

    Looked at are the outputs of its networks, and of the ``backbone`` of a detector, which drops boxes that are NaN.
    The values are read from the device.

    Args:
        task: its children are the networks.

    Raises:
        UndefinedOutputError: naming the network.
    """

    def check(module: nn.Module, arguments: Any, output: Any) -> None:
        if any(bool(is_undefined(tensor).any()) for tensor in tensors_in(output)):
            raise UndefinedOutputError(
                f"{type(module).__name__} returned NaN or infinity, so there is no prediction: its weights or its "
                "input are not finite, or it overflows in this precision"
            )

    watched = [part for name, part in task.named_modules() if name and ("." not in name or name.endswith(".backbone"))]
    handles = [part.register_forward_hook(check) for part in watched]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
