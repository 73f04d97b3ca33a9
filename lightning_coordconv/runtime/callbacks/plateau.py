"""Callback that steps schedules of a metric (``ReduceLROnPlateau``) where Lightning leaves it out in a resumed run."""

from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_warn
from pytorch_lightning.utilities.types import LRSchedulerConfig


class PlateauSteps(Callback):
    """Lets schedules of a metric step in a resumed run as in one that was not interrupted.

    A checkpoint is saved at the end of a validation, before such a schedule sees the metric, which Lightning does not
    save; and Lightning does not step the schedule at the end of an epoch in which a run resumes.
    """

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        """Values of the metrics that schedules follow, at the last validation."""
        self.left_out = False
        """Whether Lightning leaves out a step at the end of this epoch."""

    def state_dict(self) -> dict[str, Any]:
        """Return the values of the metrics."""
        return {"metrics": self.metrics}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Keep the values of the metrics."""
        self.metrics = dict(state_dict["metrics"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the trainer the values."""
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in self.metrics.items()})

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the values after a validation within training."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            found = trainer.callback_metrics
            names = {str(config.monitor) for config in _schedules(trainer)} & found.keys()
            self.metrics = {name: float(found[name]) for name in names}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note whether Lightning leaves out the step, which follows this."""
        self.left_out = trainer.fit_loop.restarting and trainer.is_last_batch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the step that was left out before this epoch."""
        self._step(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the step that was left out, before the last checkpoint is saved."""
        self._step(trainer)

    def _step(self, trainer: Trainer) -> None:
        for config in _schedules(trainer) if self.left_out else ():
            if config.interval == "epoch" and trainer.current_epoch % config.frequency == 0:
                value = trainer.callback_metrics.get(str(config.monitor))
                if value is None:
                    rank_zero_warn(f"ReduceLROnPlateau misses a step: the value of {config.monitor} is not known")
                else:
                    config.scheduler.step(value)  # type: ignore[arg-type]  # Lightning's protocol has no argument
        self.left_out = False


def _schedules(trainer: Trainer) -> list[LRSchedulerConfig]:
    """Return the schedules of a metric that Lightning steps."""
    return [config for config in trainer.lr_scheduler_configs if config.reduce_on_plateau]
