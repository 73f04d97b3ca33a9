"""Functions that seed a data-loading process, and let worker processes leave a run's stop signals to the parent."""

import signal

from lightning_fabric.utilities.seed import pl_worker_init_function

GRACE = 30
"""Seconds that a process lives on after SIGTERM; schedulers such as SLURM and Kubernetes kill a job after as many."""


def start_worker(worker_id: int, rank: int) -> None:
    """Prepare a loading process: for signals, and with random numbers that no other process of any rank has.

    Args:
        worker_id: the number of the process.
        rank: of the process that it loads for.
    """
    leave_signals_to_parent()
    pl_worker_init_function(worker_id, rank)


def leave_signals_to_parent() -> None:
    """Let the parent process decide what a signal means that all processes of a run get, as from a scheduler.

    The parent finishes its step, for which it needs this process, and ends this process afterwards, by SIGTERM if need
    be. The first SIGTERM therefore ends it only after :data:`GRACE` seconds, and a second one at once.
    """
    if not hasattr(signal, "alarm"):  # Windows sends no such signals
        return
    for number in (signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_later)


def _end_later(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_DFL)
    signal.alarm(GRACE)
