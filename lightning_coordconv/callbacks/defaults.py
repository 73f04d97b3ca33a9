"""What the command line adds to every run."""

from collections.abc import Mapping
from typing import Any

from pytorch_lightning import Callback
from pytorch_lightning.callbacks import ModelCheckpoint, RichProgressBar

from lightning_coordconv.callbacks.ceiling import StopAtCeiling
from lightning_coordconv.callbacks.finite import StopAtNonFinite
from lightning_coordconv.callbacks.summary import RunSummary


def default_callbacks(
    monitor: str, mode: str, ceiling: float | None, seed: int | None, trainer: Mapping[str, Any]
) -> list[Callback]:
    """Return the callbacks of a run: those configured, and those that every run has unless it configures its own.

    These are the best and the last checkpoint by the task's metric, a stop at that metric's ceiling, another at a
    loss that is not finite, a progress bar, and the run's summary.

    Args:
        monitor: the metric that the task is judged by.
        mode: whether ``"min"`` or ``"max"`` of it is best.
        ceiling: the value at which to stop, if there is one.
        seed: the seed of the run.
        trainer: the trainer's arguments.
    """
    callbacks: list[Callback] = list(trainer.get("callbacks") or [])
    defaults: list[Callback] = [RunSummary(seed), StopAtNonFinite()]
    if ceiling is not None:
        defaults.append(StopAtCeiling(monitor, ceiling, mode))
    if trainer.get("enable_progress_bar") is not False:
        defaults.append(RichProgressBar())
    if trainer.get("enable_checkpointing") is not False:
        defaults.append(ModelCheckpoint(monitor=monitor, mode=mode, save_last=True))
    configured = tuple(type(callback) for callback in callbacks)
    return callbacks + [default for default in defaults if not isinstance(default, configured)]
