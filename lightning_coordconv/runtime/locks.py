"""Class that locks a file or folder to which one process at a time may write."""

import os
import sys
from pathlib import Path


class Lock:
    """A lock of a file or folder between processes, which ends with its process. On Windows it has no effect.

    Args:
        path: of a file or folder that exists.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor: int | None = None

    def take(self) -> bool:
        """Return whether no other process has the lock, and this one has it now."""
        if sys.platform == "win32":
            return True
        import fcntl

        self.descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            return False
        return True

    def release(self) -> None:
        """Let others have it."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None
