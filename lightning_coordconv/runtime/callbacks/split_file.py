"""Callback that writes to ``split.json`` how a run's files were split at random into training, validation and test."""

import json
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_coordconv.core.data import BaseDataModule
from lightning_coordconv.core.figures import log_folder
from lightning_coordconv.core.files import write_text


class SplitFile(Callback):
    """Writes ``split.json`` in the run's folder if files were divided at random: the names for each part.

    Checkpoints hold the same names, and what resumes or tests them reads them there; see
    :class:`~lightning_coordconv.core.BaseDataModule`.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file, once the split of a checkpoint has been read."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]  # Lightning does not declare it
        folder = log_folder(trainer)
        names = data.random_split.names if isinstance(data, BaseDataModule) else {}
        if folder is not None and names:
            write_text(folder / "split.json", json.dumps(names, indent=1) + "\n")
