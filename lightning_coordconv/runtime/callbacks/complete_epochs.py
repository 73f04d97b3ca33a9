"""Callback by which a run that resumes from the end of an epoch begins the next one, also with ``max_steps``."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_coordconv.core import _lightning


class CompleteEpochs(Callback):
    """Begins a new epoch where the checkpoint was saved at the end of one, in ``on_train_epoch_end`` or later.

    Lightning does so in a run without ``max_steps``. With them it takes every checkpoint for one within an epoch: it
    would count an epoch without batches, and train in the order of the one after it.
    """

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Tell the loops, which are restored after this."""
        epochs = checkpoint.get("loops", {}).get("fit_loop", {}).get("epoch_progress", {}).get("current", {})
        if len({epochs.get(name) for name in ("ready", "started", "processed")}) == 1:
            _lightning.resume_between_epochs(trainer)
