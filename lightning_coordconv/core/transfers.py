"""Functions and a class that copy tensors between CPU and GPU without making the CPU wait."""

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


def is_asynchronous(tensor: Tensor) -> bool:
    """Tell whether a :class:`LateRead` of a tensor returns before the tensor is computed."""
    return tensor.is_cuda


class LateRead:
    """A copy of a small tensor on its way to the host.

    On CUDA the copy is asynchronous. :meth:`value` waits until the device has computed the tensor, which, one step
    later, it has. On other devices the copy is made at once.

    Args:
        tensor: any shape, on any device; it may change afterwards.
    """

    def __init__(self, tensor: Tensor) -> None:
        tensor = tensor.detach()
        self.event: torch.cuda.Event | None = None
        if is_asynchronous(tensor):
            self.copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self.copy.copy_(tensor, non_blocking=True)
            self.event = torch.cuda.Event()
            self.event.record(torch.cuda.current_stream(tensor.device))
        else:
            self.copy = tensor.cpu().clone()

    def value(self) -> Tensor:
        """Return the copy on the CPU."""
        if self.event is not None:
            self.event.synchronize()
        return self.copy
