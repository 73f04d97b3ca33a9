"""Callback that saves ``last.ckpt`` after each validation and at the end of training, to resume from."""

from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.trainer.states import TrainerFn

from lightning_coordconv.core import _lightning


class LastCheckpoint(ModelCheckpoint):
    """Saves ``last.ckpt`` after each validation, and at the end of training if steps followed the last validation.

    Lightning's ``ModelCheckpoint`` loses those steps, and saves nothing in a run that is shorter than the interval
    between validations. Where training ends within an epoch, at ``max_steps`` or ``max_time``, it is saved there:
    afterwards Lightning counts the epoch as complete, and a run that resumes would continue in the order of the next.
    """

    def __init__(self) -> None:
        # save_last of another ModelCheckpoint would save the last state only where it is also the best.
        name = ModelCheckpoint.CHECKPOINT_NAME_LAST
        super().__init__(filename=name, enable_version_counter=False, save_on_train_epoch_end=False)
        self.saved_step = -1
        self.saved_judgements: dict[str, Any] = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save after the last step of training, if it is within an epoch and no validation follows."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if is_at_end(trainer) and is_within_epoch(trainer, batch_idx):
            self._save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after a validation within training."""
        super().on_validation_end(trainer, pl_module)
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self.saved_step = trainer.global_step
            self.saved_judgements = self._judgements(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save again if a metric of training has chosen another best checkpoint, or counts towards an early stop.

        Not if training ends within the epoch: what was saved there continues it.
        """
        super().on_train_epoch_end(trainer, pl_module)
        saved = self.saved_step == trainer.global_step
        if saved and trainer.is_last_batch and self.saved_judgements != self._judgements(trainer):
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the steps that followed the last validation."""
        super().on_train_end(trainer, pl_module)
        if self.saved_step != trainer.global_step:
            self._save(trainer)

    def _judgements(self, trainer: Trainer) -> dict[str, Any]:
        """Return what the callbacks know that watch a metric."""
        watching = [*trainer.checkpoint_callbacks, *trainer.early_stopping_callbacks]
        return {callback.state_key: callback.state_dict() for callback in watching if callback is not self}

    def _save(self, trainer: Trainer) -> None:
        debugging = trainer.fast_dev_run  # type: ignore[attr-defined]  # Lightning does not declare it
        if debugging:
            return
        assert self.dirpath is not None
        path = Path(self.dirpath, f"{self.CHECKPOINT_NAME_LAST}{self.FILE_EXTENSION}")
        trainer.save_checkpoint(path, weights_only=False)
        self.saved_step = trainer.global_step


def is_at_end(trainer: Trainer) -> bool:
    """Tell after a batch whether training ends with it, within an epoch or not.

    A run that was asked to stop before its ``min_epochs`` or ``min_steps`` goes on.
    """
    epochs = trainer.current_epoch + trainer.is_last_batch
    limits = (trainer.max_steps, trainer.global_step), (trainer.max_epochs, epochs)
    reached = any(limit is not None and -1 < limit <= done for limit, done in limits)
    return reached or (trainer.should_stop and _lightning.can_stop_early(trainer))


def is_within_epoch(trainer: Trainer, batch_idx: int) -> bool:
    """Tell at the end of a training batch whether others of its epoch are left, and no validation may follow it.

    Where validations are due by the clock, none counts: a run cannot wait for the next one, which may be hours away.
    """
    steps = batch_idx + 1 if trainer.check_val_every_n_epoch else trainer.fit_loop.total_batch_idx + 1
    interval = trainer.val_check_batch  # None where it is a time
    validates = trainer.enable_validation and interval is not None and steps % interval == 0
    return not trainer.is_last_batch and not validates
