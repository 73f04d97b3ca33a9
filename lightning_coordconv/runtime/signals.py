"""Class that ends the process with exit code 75 on SIGTERM, SIGUSR1 or SIGHUP, at once or after its work is saved."""

import os
import signal
import threading
from types import FrameType
from typing import Any

REQUEUE = 75
"""The exit code of a run that was preempted: EX_TEMPFAIL of sysexits.h, "try again later"."""
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name))


class StopSignals:
    """Handles the signals that ask the process to stop; repeated signals count as one.

    While ``deferred`` is set, a signal is only noted, and whoever set it ends the process with :data:`REQUEUE` as soon
    as its work is saved. At all other times there is nothing to save, and a signal ends the process at once with that
    code.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.deferred = False
        self.process = os.getpid()
        self.previous: dict[signal.Signals, Any] = {}

    def install(self) -> None:
        """Handle the signals. Call it again to take them back from a library."""
        if threading.current_thread() is not threading.main_thread():
            return
        self.process = os.getpid()
        for number in SIGNALS:
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # started by nohup, to live on when its terminal closes
            handler = signal.signal(number, self._receive)
            self.previous.setdefault(number, handler)

    def uninstall(self) -> None:
        """Give the signals back; after one was received, ignore them, so that the exit code stays."""
        if self.process != os.getpid() or threading.current_thread() is not threading.main_thread():
            return
        for number, handler in self.previous.items():
            signal.signal(number, signal.SIG_IGN if self.received else handler)
        self.previous, self.deferred = {}, False

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.process:  # a forked worker inherits the handler; its parent decides
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        repeated = self.received is not None
        self.received = signal.Signals(number)
        if not self.deferred and not repeated:
            raise SystemExit(REQUEUE)


stop_signals = StopSignals()
"""The handlers of this process."""
