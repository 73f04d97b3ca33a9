"""Callback that writes the configuration of a run to ``config.yaml`` in its folder."""

from pathlib import Path

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import SaveConfigCallback

from lightning_coordconv.runtime.callbacks.summary import is_of_fit


class SavedConfig(SaveConfigCallback):
    """Writes ``config.yaml`` beside the logs. An evaluation in the folder of a fit leaves the file as it is."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the file, unless it is that of a fit."""
        log_dir = trainer.log_dir  # a collective call: the first rank broadcasts it
        of_a_fit = log_dir is not None and is_of_fit(Path(log_dir))
        if stage == "fit" or not trainer.strategy.broadcast(of_a_fit):
            super().setup(trainer, pl_module, stage)
