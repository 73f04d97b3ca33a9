"""State as tensors, numbers and strings alone, which ``torch.load(weights_only=True)`` accepts."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

ARRAY, DTYPE, BYTES, GENERATOR = "numpy.ndarray", "numpy.dtype", "bytes", "numpy.random.Generator"


def encode_state(value: Any) -> Any:
    """Return a copy of a value in which NumPy arrays, NumPy generators and bytes have become plain data.

    Args:
        value: ``None``, a number, a string, a tensor, bytes, an array, a generator, or lists, tuples and dicts of them.

    Raises:
        TypeError: for anything else.
    """
    if isinstance(value, np.ndarray | np.generic):
        signed = np.array(value).view(value.dtype.str.replace("u", "i") if value.itemsize > 1 else value.dtype)
        return {ARRAY: torch.from_numpy(signed), DTYPE: value.dtype.str}  # not all of torch knows wide unsigned types
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        return {BYTES: torch.frombuffer(bytearray(value), dtype=torch.uint8)}
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, np.random.Generator):
        return {GENERATOR: encode_state(value.bit_generator.state)}
    if isinstance(value, Mapping):
        return {key: encode_state(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(encode_state(item) for item in value)
    raise TypeError(f"a {type(value).__module__}.{type(value).__qualname__} can't be kept as plain data")


def decode_state(value: Any) -> Any:
    """Undo :func:`encode_state`."""
    if isinstance(value, dict):
        if ARRAY in value:
            array = value[ARRAY].numpy().copy().view(value[DTYPE])
            return array if array.ndim else array[()]
        if BYTES in value:
            return value[BYTES].numpy().tobytes()
        if GENERATOR in value:
            state = decode_state(value[GENERATOR])
            bit_generator = getattr(np.random, state["bit_generator"])()
            bit_generator.state = state
            return np.random.Generator(bit_generator)
        return {key: decode_state(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(decode_state(item) for item in value)
    return value
