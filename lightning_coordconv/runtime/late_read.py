"""Reads small results from a device after the host has moved on, so that no training step waits for them."""

import torch
from torch import Tensor


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
        if tensor.is_cuda:
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
