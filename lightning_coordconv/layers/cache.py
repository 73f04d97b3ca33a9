"""Cache of coordinate grids and other tensors for all CoordConv layers, and functions to limit and clear it."""

import threading
from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

from lightning_coordconv.layers._torch import without_dispatch_modes
from lightning_coordconv.layers.arguments import check_count


class CoordinateCache:
    """The tensors of the last maps and geometries, for all layers of a process and all threads.

    Nothing in it depends on weights. Tensors of tracing modes are never kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.kept: dict[Hashable, Sequence[Tensor]] = {}
        self.lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Sequence[Tensor]]) -> Sequence[Tensor] | None:
        """Return the tensors of a key, and keep them; they are made outside of all modes and transforms.

        Returns:
            The tensors; None if they are not kept and a CUDA graph is being captured, in which nothing can be kept.
        """
        tensors = self.kept.get(key)
        if tensors is not None:
            return tensors
        if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
            return None
        with without_dispatch_modes(), torch.inference_mode(False), torch.no_grad():
            tensors = make()
        if tensors[0].is_cuda:
            torch.cuda.current_stream(tensors[0].device).synchronize()  # once a key: other streams may use them
        with self.lock:
            if key not in self.kept and type(tensors[0]) is Tensor and _num_bytes(tensors) <= self.max_bytes:
                self.kept[key] = tensors
                self.bytes += _num_bytes(tensors)
            self.release()
        return tensors

    def limit(self, max_bytes: int) -> None:
        """Set the number of bytes, and release what is more than that."""
        with self.lock:
            self.max_bytes = max_bytes
            self.release()

    def release(self) -> None:
        """Release what was kept first, until no more than the allowed bytes are left. The lock must be held."""
        while self.bytes > self.max_bytes:
            self.bytes -= _num_bytes(self.kept.pop(next(iter(self.kept))))


def _num_bytes(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


CACHE = CoordinateCache(max_bytes=64 << 20)


def limit_coordinate_cache(max_bytes: int) -> None:
    """Limit the memory of what the layers keep from call to call, for all layers of this process.

    What is kept depends on the sizes of maps and the geometry of layers only, never on weights: some kilobytes for each
    distinct combination. What was kept first is released first. The default is 64 MiB.

    Args:
        max_bytes: Largest number of bytes, on all devices together; 0 keeps nothing.

    Raises:
        TypeError: If ``max_bytes`` is no integer.
        ValueError: If it is negative.
    """
    check_count("max_bytes", max_bytes, 0)
    CACHE.limit(max_bytes)


def clear_coordinate_cache() -> None:
    """Release what the layers have kept from earlier calls; later calls compute it again."""
    limit = CACHE.max_bytes
    CACHE.limit(0)
    CACHE.limit(limit)
