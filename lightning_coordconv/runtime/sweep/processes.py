"""Class that runs the child processes of a sweep, a few at a time, and ends them all when the sweep is stopped."""

import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from typing import Any, TypeVar

Result = TypeVar("Result")


class Processes:
    """Processes that threads wait for, and that can be ended together."""

    def __init__(self) -> None:
        self.running: set[subprocess.Popen[bytes]] = set()
        self.stopped = False

    def call(self, command: Sequence[str], **options: Any) -> int:
        """Run a command as ``subprocess.call`` does, and return its exit code."""
        with subprocess.Popen(command, **options) as process:
            self.running.add(process)
            try:
                if self.stopped:
                    process.terminate()
                return process.wait()
            finally:
                self.running.discard(process)

    def stop(self) -> None:
        """Send SIGTERM to all, at which a fit saves a checkpoint and ends."""
        self.stopped = True
        for process in list(self.running):
            process.terminate()

    def map(self, function: Callable[[Any], Result], items: Sequence[Any], jobs: int) -> list[Result]:
        """Call a function for each item in threads, and return the results.

        If a call raises an exception, or the sweep itself is asked to stop, no further call starts, and the processes
        that run are stopped.

        Args:
            function: calls :meth:`call`.
            items: an argument of each call.
            jobs: calls at a time.
        """
        self.stopped = False

        def call(item: Any) -> Result:
            if self.stopped:
                raise CancelledError
            try:
                return function(item)
            except BaseException:
                self.stopped = True
                raise

        with ThreadPoolExecutor(jobs) as pool:
            futures = [pool.submit(call, item) for item in items]
            try:
                for future in as_completed(futures):
                    error = future.exception()
                    if error is not None and not isinstance(error, CancelledError):
                        raise error
            except BaseException:
                self.stop()
                raise
        return [future.result() for future in futures]


processes = Processes()
"""The processes that this process has started."""
