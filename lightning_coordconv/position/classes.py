"""Reads the classes of a sample, and which of them count."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def read_classes(sample: Mapping[str, Any], key: str) -> tuple[Tensor, Tensor]:
    """Return the classes under a key, int64, and which of them count: those from 0 on.

    Raises:
        ValueError: if they are no integers.
    """
    classes = torch.as_tensor(sample[key])
    if classes.is_floating_point() or classes.is_complex():
        raise ValueError(
            f"{key!r} must hold integers, which are classes, got {classes.dtype}: give numbers another name"
        )
    return classes.long(), classes >= 0
