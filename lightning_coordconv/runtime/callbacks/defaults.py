"""What the command line adds to every run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback
from pytorch_lightning.callbacks import ModelCheckpoint, RichProgressBar

from lightning_coordconv.runtime.callbacks.ceiling import StopAtCeiling
from lightning_coordconv.runtime.callbacks.finite import StopAtNonFinite
from lightning_coordconv.runtime.callbacks.preemption import Preemption
from lightning_coordconv.runtime.callbacks.randomness import RandomState
from lightning_coordconv.runtime.callbacks.run_folder import RunFolder
from lightning_coordconv.runtime.callbacks.running_statistics import RunningStatistics
from lightning_coordconv.runtime.callbacks.summary import RunSummary
from lightning_coordconv.runtime.callbacks.training_metrics import TrainingMetrics


def default_callbacks(
    monitor: str,
    mode: str,
    ceiling: float | None,
    seed: int | None,
    ckpt_path: str | Path | None,
    trainer: Mapping[str, Any],
) -> list[Callback]:
    """Return the callbacks of a run: those that every run has unless it configures its own, and those configured.

    These are the best and the last checkpoint by the task's metric, a stop at that metric's ceiling, another at a
    loss that is not finite, a progress bar, the run's summary, what spares ranks an exchange in every step, and what
    makes a run safe to interrupt: a folder of its own, the state of the random generators and of the training metrics
    in its checkpoints, and a checkpoint when it is told to go. A configured checkpoint that monitors nothing, every so
    many steps, say, comes beside them.

    Args:
        monitor: the metric that the task is judged by.
        mode: whether ``"min"`` or ``"max"`` of it is best.
        ceiling: the value at which to stop, if there is one.
        seed: the seed of the run.
        ckpt_path: what a fit goes on from.
        trainer: the trainer's arguments.
    """
    callbacks: list[Callback] = list(trainer.get("callbacks") or [])
    defaults: list[Callback] = [
        RunningStatistics(),  # before any rank reads a metric, for which it would wait for the others
        RunFolder(ckpt_path),
        RunSummary(seed),
        StopAtNonFinite(),
        RandomState(),
        TrainingMetrics(),
    ]
    if ceiling is not None:
        defaults.append(StopAtCeiling(monitor, ceiling, mode))
    if trainer.get("enable_progress_bar") is not False:
        defaults.append(RichProgressBar())
    if trainer.get("enable_checkpointing") is not False:
        # Both at the end of a validation, before a preempted run leaves; save_last of the first would write the last
        # state only where it is the best as well
        last = ModelCheckpoint.CHECKPOINT_NAME_LAST
        defaults += [
            ModelCheckpoint(monitor=monitor, mode=mode, save_on_train_epoch_end=False),
            ModelCheckpoint(filename=last, enable_version_counter=False, save_on_train_epoch_end=False),
        ]
    defaults.append(Preemption())
    configured = tuple(
        type(callback)
        for callback in callbacks
        if not (isinstance(callback, ModelCheckpoint) and callback.monitor is None)
    )
    return [default for default in defaults if not isinstance(default, configured)] + callbacks
