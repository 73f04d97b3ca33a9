"""Callback that steps schedules of a metric (``ReduceLROnPlateau``) where Lightning leaves it out in a resumed run."""

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_warn
from pytorch_lightning.utilities.types import LRSchedulerConfig


class PlateauSteps(Callback):
    """Lets schedules of a metric step in a resumed run as in one that was not interrupted.

    Such a schedule steps after the callbacks of a batch, a validation or an epoch, which save checkpoints. Lightning
    does not save the metric, leaves out the step on resumption, and leaves it out at the end of an epoch in which a run
    resumes.
    """

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        """Values in the checkpoint of the metrics that schedules follow."""
        self.left_out: str | None = None
        """After which of ``"step"`` and ``"epoch"`` Lightning has left out the steps of schedules."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add ``plateau``: the values of the metrics, and which steps of schedules are yet to come."""
        configs = _schedules(trainer)
        if configs:
            found = trainer.callback_metrics
            metrics = {name: float(found[name]) for name in {str(config.monitor) for config in configs} & found.keys()}
            checkpoint["plateau"] = {"metrics": metrics, "left_out": _yet_to_come(trainer)}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep them until training starts."""
        saved = checkpoint.get("plateau", {})
        self.metrics, self.left_out = saved.get("metrics", {}), saved.get("left_out")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the trainer the values, and take the steps that were yet to come."""
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in self.metrics.items()})
        self._step(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note whether Lightning leaves out the steps, which follow this."""
        self.left_out = "epoch" if trainer.fit_loop.restarting and trainer.is_last_batch else None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the steps that were left out before this epoch."""
        self._step(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the steps that were left out, before the last checkpoint is saved."""
        self._step(trainer)

    def _step(self, trainer: Trainer) -> None:
        done = trainer.current_epoch if self.left_out == "epoch" else trainer.fit_loop.epoch_loop.batch_idx + 1
        for config in _schedules(trainer):
            if config.interval == self.left_out and done % config.frequency == 0:
                value = trainer.callback_metrics.get(str(config.monitor))
                if value is None:
                    rank_zero_warn(f"ReduceLROnPlateau misses a step: the value of {config.monitor} is not known")
                else:
                    config.scheduler.step(value)  # type: ignore[arg-type]  # Lightning's protocol has no argument
        self.left_out = None


def _yet_to_come(trainer: Trainer) -> str | None:
    """Return after which of ``"step"`` and ``"epoch"`` Lightning is about to step schedules of a metric."""
    progress = trainer.fit_loop.epoch_progress, trainer.fit_loop.epoch_loop.batch_progress
    epoch, batch = (each.current.state_dict() for each in progress)
    if epoch["processed"] > epoch["completed"]:
        return "epoch" if trainer.is_last_batch else None
    accumulated = batch["ready"] % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch
    return "step" if batch["processed"] > batch["completed"] and accumulated else None


def _schedules(trainer: Trainer) -> list[LRSchedulerConfig]:
    """Return the schedules of a metric that Lightning steps."""
    return [config for config in trainer.lr_scheduler_configs if config.reduce_on_plateau]
