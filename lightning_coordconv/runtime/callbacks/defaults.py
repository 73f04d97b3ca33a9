"""Functions that complete a run's callbacks with defaults, and let those on validation metrics act after validation."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import (
    Checkpoint,
    EarlyStopping,
    LearningRateFinder,
    ModelCheckpoint,
    ModelPruning,
    ProgressBar,
    StochasticWeightAveraging,
    WeightAveraging,
)

from lightning_coordconv.runtime.callbacks.accumulation import AccumulatedGradients
from lightning_coordconv.runtime.callbacks.best_checkpoint import BestCheckpoint
from lightning_coordconv.runtime.callbacks.changed_options import ChangedOptions
from lightning_coordconv.runtime.callbacks.complete_epochs import CompleteEpochs
from lightning_coordconv.runtime.callbacks.finetuning import MovingAverage
from lightning_coordconv.runtime.callbacks.finite import StopAtNonFinite
from lightning_coordconv.runtime.callbacks.last_checkpoint import LastCheckpoint
from lightning_coordconv.runtime.callbacks.plateau import PlateauSteps
from lightning_coordconv.runtime.callbacks.preemption import CheckpointingPreemption, Preemption
from lightning_coordconv.runtime.callbacks.progress import ProgressLines, TerminalProgressBar
from lightning_coordconv.runtime.callbacks.randomness import RandomState
from lightning_coordconv.runtime.callbacks.resumed_optimisers import ResumedOptimisers
from lightning_coordconv.runtime.callbacks.run_folder import RunFolder
from lightning_coordconv.runtime.callbacks.running_statistics import RunningStatistics
from lightning_coordconv.runtime.callbacks.split_file import SplitFile
from lightning_coordconv.runtime.callbacks.stopped_early import StoppedEarly
from lightning_coordconv.runtime.callbacks.summary import RunSummary
from lightning_coordconv.runtime.callbacks.training_metrics import TrainingMetrics

REFUSED: dict[type[Callback], str] = {
    StochasticWeightAveraging: "sets its averages when training has ended, after the last checkpoint was saved, which "
    "would hold other weights: use lightning_coordconv.runtime.callbacks.MovingAverage",
    WeightAveraging: "replaces the averages of a checkpoint by the plain weights in the test at the end of fit: use "
    "lightning_coordconv.runtime.callbacks.MovingAverage",
    LearningRateFinder: "needs a task with a learning rate as an attribute: use lightning-coordconv sweep with "
    "--search 'model.optimizer.init_args.lr=loguniform(1e-4,1e-1)'",
    ModelPruning: "saves weights without their masks, so that a resumed run would train pruned weights again: use "
    "torch.nn.utils.prune, which lightning_coordconv's layers take, on the network of a trained task",
}
"""Callbacks of Lightning that cannot work with this package's tasks and checkpoints, and why."""


def default_callbacks(
    monitor: str,
    mode: str,
    threshold: float | None,
    seed: int | None,
    ckpt_path: str | Path | None,
    trainer: Mapping[str, Any],
    data: Mapping[str, Any] | None = None,
) -> list[Callback]:
    """Return the callbacks of a run: the defaults that it does not configure itself, and those that it configures.

    The defaults save the best and the last checkpoint by the task's metric, stop at the metric's threshold or at a loss
    that is not finite, show progress, write the run's summary and its random split, and make the run safe to interrupt:
    a folder that no other run writes to, random-number state and training metrics in its checkpoints, and a checkpoint
    when the process is asked to stop. A configured checkpoint with a metric takes the place of the best one, and
    one without, such as one every 100 steps, is added to them.

    Args:
        monitor: the metric that the task is judged by.
        mode: whether ``"min"`` or ``"max"`` of it is best.
        threshold: the value of the metric at which to stop, if there is one.
        seed: the seed of the run.
        ckpt_path: the checkpoint that a fit resumes from.
        trainer: the trainer's arguments.
        data: those of the data.

    Raises:
        ValueError: for a configured callback that cannot work here, as :data:`REFUSED` says.
    """
    # Lightning takes the first checkpoint callback for the one that knows the best, with a metric or not.
    callbacks: list[Callback] = sorted(trainer.get("callbacks") or [], key=_keeps_no_best)
    for callback in callbacks:
        for kind, reason in REFUSED.items():
            if isinstance(callback, kind) and not isinstance(callback, MovingAverage):
                raise ValueError(f"{type(callback).__name__} {reason}")
    defaults: list[Callback] = [
        RunningStatistics(),  # first: reading a metric makes a rank wait for the others
        RunFolder(ckpt_path),
        ChangedOptions(data),
        ResumedOptimisers(),
        CompleteEpochs(),
        StoppedEarly(),
        SplitFile(),
        RunSummary(seed),
        StopAtNonFinite(),
        RandomState(),
        TrainingMetrics(),
        PlateauSteps(),
        AccumulatedGradients(),
    ]
    if threshold is not None:
        defaults.append(stop_at(monitor, mode, threshold))
    if trainer.get("enable_progress_bar") is not False:
        defaults.append(TerminalProgressBar() if sys.stdout.isatty() else ProgressLines())
    last: list[Callback] = []
    if trainer.get("enable_checkpointing") is False:
        defaults.append(Preemption())
    else:
        defaults.append(BestCheckpoint(monitor=monitor, mode=mode, save_on_train_epoch_end=False))
        # after the best of the same validation, and before a preempted run stops
        last = [LastCheckpoint(), CheckpointingPreemption()]
    before, after = (
        [default for default in group if not any(_replaces(callback, default) for callback in callbacks)]
        for group in (defaults, last)
    )
    return [*before, *callbacks, *after]


def judge_after_validation(callbacks: Iterable[Any]) -> None:
    """Let callbacks that watch a metric of validation act at the end of a validation, where they do not say when.

    By default Lightning's wait for the end of the training epoch, and so miss a checkpoint that is saved after the
    validation: a run that resumes from it would have forgotten the best checkpoint, and refuse to stop early.

    Args:
        callbacks: what the command line parsed; changed in place.
    """
    for callback in callbacks:
        arguments = callback.get("init_args") or {}
        if str(arguments.get("monitor")).startswith("val"):
            for name in ("save_on_train_epoch_end", "check_on_train_epoch_end"):
                if name in arguments and arguments[name] is None:
                    arguments[name] = False


def stop_at(monitor: str, mode: str, threshold: float) -> EarlyStopping:
    """Return a callback that stops training once a metric has reached a value, and for no other reason.

    Args:
        monitor: name of the metric.
        mode: whether ``"min"`` or ``"max"`` of it is best.
        threshold: Lightning stops beyond its threshold, so it gets the next number in single precision.
    """
    beyond = np.nextafter(np.float32(threshold), np.float32(-np.inf if mode == "max" else np.inf))
    return EarlyStopping(
        monitor, mode=mode, stopping_threshold=float(beyond), patience=sys.maxsize,
        check_finite=False, strict=False, check_on_train_epoch_end=False,
    )  # fmt: skip


def _keeps_no_best(callback: Callback) -> bool:
    """Tell whether a callback saves checkpoints, but not by a metric."""
    return isinstance(callback, Checkpoint) and getattr(callback, "monitor", None) is None


def _replaces(callback: Callback, default: Callback) -> bool:
    """Tell whether a configured callback takes the place of a default."""
    if isinstance(callback, ModelCheckpoint):
        best = callback.monitor is not None and isinstance(default, BestCheckpoint)
        return best or type(callback) is type(default)
    if isinstance(callback, EarlyStopping) and isinstance(default, EarlyStopping):
        return callback.monitor == default.monitor
    if isinstance(callback, ProgressBar) and isinstance(default, ProgressBar):
        return True
    return isinstance(default, type(callback))
