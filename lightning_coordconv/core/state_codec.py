"""Functions that convert NumPy arrays, NumPy generators and bytes to plain data for checkpoints, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

ARRAY, DTYPE, BYTES, GENERATOR = "numpy.ndarray", "numpy.dtype", "bytes", "numpy.random.Generator"

BIT_GENERATORS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")


def encode_state(value: Any) -> Any:
    """Return a copy of a value whose NumPy arrays, NumPy generators and bytes are converted to plain data.

    Args:
        value: ``None``, a number, a string, a tensor, bytes, an array, a generator, or lists, tuples and dicts of them.

    Raises:
        TypeError: for anything else.
    """
    if isinstance(value, np.ndarray | np.generic):
        signed = np.array(value).view(value.dtype.str.replace("u", "i") if value.itemsize > 1 else value.dtype)
        return {
            ARRAY: torch.from_numpy(signed),
            DTYPE: value.dtype.str,
        }  # torch lacks wide unsigned ones
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        return {BYTES: torch.from_numpy(np.frombuffer(bytearray(value), np.uint8))}
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, np.random.Generator):
        return {GENERATOR: encode_state(value.bit_generator.state)}
    if isinstance(value, Mapping):
        return {key: encode_state(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(encode_state(item) for item in value)
    raise TypeError(f"a {type(value).__module__}.{type(value).__qualname__} cannot be converted to plain data")


def decode_state(value: Any) -> Any:
    """Undo :func:`encode_state`.

    Raises:
        TypeError: if the data describes an array of Python objects, or an unknown generator.
    """
    if isinstance(value, dict):
        if ARRAY in value:
            dtype = np.dtype(value[DTYPE])
            if dtype.hasobject:  # its numbers would be taken for addresses
                raise TypeError(f"an array of {dtype} is not plain data")
            array = value[ARRAY].numpy().copy(order="K").view(dtype)  # convolutions round by the order in memory
            return array if array.ndim else array[()]
        if BYTES in value:
            return value[BYTES].numpy().tobytes()
        if GENERATOR in value:
            state = decode_state(value[GENERATOR])
            name = state["bit_generator"]
            if name not in BIT_GENERATORS:
                raise TypeError(f"bit_generator must be one of {', '.join(BIT_GENERATORS)}, got {name!r}")
            bit_generator = getattr(np.random, name)()
            bit_generator.state = state
            return np.random.Generator(bit_generator)
        return {key: decode_state(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(decode_state(item) for item in value)
    return value
