"""Memory that a training step frees is what its next step needs."""

import ctypes
import sys

M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4


def keep_freed_memory() -> None:
    """Have glibc keep what is freed for what is allocated next, rather than give it back to the system.

    By default every large activation is mapped anew in every step, page by page: on a CPU that was a third of the time
    of training a painter, and half of it with batches whose activations are larger than 32 MiB, up to which a threshold
    (``M_MMAP_THRESHOLD``) would do. A process keeps the most that it ever had. Does nothing where the C library is
    another.
    """
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, -1)
