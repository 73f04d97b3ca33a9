"""Copies values from the host to a device without making the host wait."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor


def to_device(values: Tensor | NDArray[Any], device: torch.device) -> Tensor:
    """Copy values of the host to a device, without waiting for the device.

    On the way to a GPU they pass through pinned memory, from which the GPU reads by itself while the host goes on. The
    values may be changed as soon as the function returns.

    Args:
        values: of any shape and type, in the host's memory.
        device: where the copy will be; on a CPU it is a copy too.
    """
    tensor = torch.as_tensor(values)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device, copy=True)
