"""Keeps the last state of training."""

from pathlib import Path

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.trainer.states import TrainerFn


class LastCheckpoint(ModelCheckpoint):
    """Saves ``last.ckpt`` after each validation, and at the end of training if steps followed the last validation.

    Lightning's ``ModelCheckpoint`` loses those steps, and saves nothing in a run that is shorter than the interval
    between validations.
    """

    def __init__(self) -> None:
        # save_last of another ModelCheckpoint would save the last state only where it is also the best.
        name = ModelCheckpoint.CHECKPOINT_NAME_LAST
        super().__init__(filename=name, enable_version_counter=False, save_on_train_epoch_end=False)
        self.validated_step = -1

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after a validation within training."""
        super().on_validation_end(trainer, pl_module)
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self.validated_step = trainer.global_step

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the steps that followed the last validation."""
        super().on_train_end(trainer, pl_module)
        debugging = trainer.fast_dev_run  # type: ignore[attr-defined]  # Lightning does not declare it
        if self.validated_step != trainer.global_step and not debugging:
            assert self.dirpath is not None
            trainer.save_checkpoint(
                Path(self.dirpath, f"{self.CHECKPOINT_NAME_LAST}{self.FILE_EXTENSION}"), weights_only=False
            )
