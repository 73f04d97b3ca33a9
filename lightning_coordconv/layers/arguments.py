"""Functions that check arguments of layers and encodings; errors name the argument, what is allowed and the value.

A value of the wrong type is a ``TypeError``, one out of its range a ``ValueError``.
"""

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from lightning_coordconv.layers._torch import values_are_known

DTYPES: tuple[torch.dtype, ...] = (
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex32,
    torch.complex64,
    torch.complex128,
)
"""Dtypes of weights with which torch convolves."""


def shown(value: object) -> str:
    """Return a value as an error shows it: in one line of at most 100 characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 100 else f"{text[:97]}..."


def check_count(name: str, value: object, least: int = 1, most: int | None = None) -> None:
    """Check that a value is an integer in a range; a bool is none.

    Raises:
        TypeError: If it is no integer.
        ValueError: If it is less than ``least``, or more than ``most``.
    """
    allowed = f"at least {least}" if most is None else f"from {least} to {most}"
    if isinstance(value, bool) or not isinstance(value, Integral | torch.SymInt):
        raise TypeError(f"{name} must be an integer, {allowed}, but got {shown(value)}")
    number: Any = value  # types know no order of numbers.Integral
    if number < least or (most is not None and number > most):
        raise ValueError(f"{name} must be {allowed}, but got {value}")


def check_flags(**flags: object) -> None:
    """Check that values are True or False, or 1 or 0.

    Raises:
        TypeError: If one is not.
    """
    for name, value in flags.items():
        if not isinstance(value, int) or value not in (0, 1):
            raise TypeError(f"{name} must be True or False, but got {shown(value)}")


def check_sizes(name: str, value: object, num_axes: int, least: int) -> None:
    """Check that a value is an integer, or one for each axis.

    Raises:
        TypeError: If it is something else.
        ValueError: If there are more or fewer than axes, or one of them is less than ``least``.
    """
    if _is_integer(value):
        check_count(name, value, least)
        return
    allowed = f"an integer of at least {least}" + (f" or {num_axes} of them" if num_axes > 1 else " or a tuple of one")
    if not is_sequence(value) or not all(_is_integer(cells) for cells in value):
        raise TypeError(f"{name} must be {allowed}, but got {shown(value)}")
    if len(value) != num_axes or min(value) < least:
        raise ValueError(f"{name} must be {allowed}, but got {shown(value)}")


def check_whole(name: str, value: object) -> None:
    """Check that a value is a sequence of whole numbers, which may be symbols or tensors of a graph.

    Raises:
        TypeError: If it is something else.
    """
    if not is_sequence(value) or not all(_is_whole(cells) for cells in value):
        raise TypeError(f"{name} must be a sequence of integers, but got {shown(value)}")


def check_numbers(name: str, value: object) -> None:
    """Check that a value is a sequence of real numbers.

    Raises:
        TypeError: If it is something else.
    """
    if not is_sequence(value) or not all(isinstance(number, Real) for number in value):
        raise TypeError(f"{name} must be a sequence of numbers, but got {shown(value)}")


def to_tensor(name: str, value: Any) -> Tensor:
    """Return a tensor of real numbers, which a value is, or of which it is a nested sequence.

    Raises:
        TypeError: If it is something else.
    """
    if isinstance(value, Tensor):
        tensor = value
    else:
        try:
            tensor = torch.tensor(value, device="cpu")
        except (TypeError, ValueError, RuntimeError) as error:
            hint = ""
            if is_sequence(value) and any(isinstance(each, Tensor) for each in value):
                hint = ": torch's default_collate makes a list of tensors of tuples, and one tensor of tensors"
            raise TypeError(f"{name} must be numbers, or a tensor of them, but got {shown(value)}{hint}") from error
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"{name} must be real numbers, but got {shown(value)} of {tensor.dtype}")
    return tensor


def check_finite(name: str, values: Tensor, source: object = None) -> None:
    """Check that no value is NaN or infinite in float32, if that can be told without waiting for a device.

    Args:
        name: Of the values, in which ``{!r}`` stands for their source.
        values: To look at.
        source: What made them, whose text is made only for an error.

    Raises:
        ValueError: If one is, naming the first.
    """
    if values_are_known(values):
        wrong = ~values.detach().float().isfinite()
        if bool(wrong.any()):
            first = values.detach()[wrong][0].item()
            raise ValueError(f"{name.format(source)} must be finite in float32, but holds {first}")


def check_number(name: str, value: object) -> None:
    """Check that a value is a real number; a bool is none.

    Raises:
        TypeError: If it is not.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, but got {shown(value)}")


def check_module(name: str, value: object, kinds: type | tuple[type, ...] = nn.Module) -> None:
    """Check that a value is a module of one of some kinds.

    Raises:
        TypeError: If it is something else.
    """
    if not isinstance(value, kinds):
        names = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
        raise TypeError(f"{name} must be an instance of {names}, but got {shown(value)}")


def check_dtype(dtype: object) -> None:
    """Check that coordinate weights can have a dtype; None stands for torch's default.

    Raises:
        TypeError: If they cannot.
    """
    if dtype is not None and dtype not in DTYPES:
        raise TypeError(f"dtype must be one of {', '.join(map(str, DTYPES))}, but got {shown(dtype)}")


def check_convolution(arguments: Mapping[str, Any], num_axes: int, transposed: bool) -> None:
    """Check the types and ranges of a convolution's arguments, which torch reports, if at all, without their names.

    Args:
        arguments: By the names of torch's class. Those that torch itself reports by name are not checked.
        num_axes: Number of axes of the layer.
        transposed: Whether it is a transposed convolution, which knows no padding "same" or "valid".

    Raises:
        TypeError: If one is of the wrong type.
        ValueError: If one is out of its range.
    """
    for name, least in (("in_channels", 0), ("out_channels", 1), ("groups", 1)):
        check_count(name, arguments.get(name, 1), least)
    for name, least in (("kernel_size", 1), ("stride", 1), ("dilation", 1), ("padding", 0), ("output_padding", 0)):
        value = arguments.get(name, 1)
        if name != "padding" or transposed or not isinstance(value, str):
            check_sizes(name, value, num_axes, least)
    check_flags(bias=arguments.get("bias", True))
    device = arguments.get("device")
    if not isinstance(device, torch.device | str | int | None) or isinstance(device, bool):
        raise TypeError(f"device must be a torch.device, its name or its number, but got {shown(device)}")
    check_dtype(arguments.get("dtype"))


def check_tensor(x: object, name: str) -> None:
    """Check that the input of a layer is a tensor.

    Raises:
        TypeError: If it is something else.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} expects a tensor, but got {shown(x)}, a {type(x).__name__}")


def is_sequence(value: object) -> TypeGuard[Sequence[Any]]:
    """Return whether a value is a list, a tuple or another sequence, and no string."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.dim() == 0 and not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool)
    return isinstance(value, Integral | torch.SymInt) and not isinstance(value, bool)
