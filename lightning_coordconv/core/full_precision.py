"""Function that returns what a network in mixed precision computes in float32, for metrics and positions in pixels."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def in_full_precision(values: Any) -> Any:
    """Return values, also in nested dicts, lists and tuples, with floating-point tensors in float32 at least.

    Under autocast layers return bfloat16 or float16, and so does what is computed from them: a mean would be rounded to
    8 bits, and a position of 600 pixels to a multiple of 4.

    >>> in_full_precision([torch.ones(1, dtype=torch.bfloat16), torch.ones(1, dtype=torch.int64)])
    [tensor([1.]), tensor([1])]
    """
    if isinstance(values, Tensor):
        lower = values.is_floating_point() and values.dtype not in (torch.float32, torch.float64)
        return values.float() if lower else values
    if isinstance(values, Mapping):
        return {key: in_full_precision(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        found = map(in_full_precision, values)
        return list(found) if isinstance(values, list) else tuple(found)
    return values
