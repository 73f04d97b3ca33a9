"""Callback that logs, and writes to ``split.json``, how a run's files were split at random into three parts."""

import json
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_info

from lightning_coordconv.core.data import BaseDataModule
from lightning_coordconv.core.figures import log_folder
from lightning_coordconv.core.files import write_text
from lightning_coordconv.core.splits import PARTS


class SplitFile(Callback):
    """Writes ``split.json`` in the run's folder if files were divided at random: the names for each part.

    Their numbers are logged. Checkpoints hold the same names, and what resumes or tests them reads them there; see
    :class:`~lightning_coordconv.core.BaseDataModule`.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file, once the split of a checkpoint has been read."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]  # Lightning does not declare it
        folder = log_folder(trainer)
        names = data.random_split.names if isinstance(data, BaseDataModule) else {}
        if folder is not None and names:
            file = folder / "split.json"
            write_text(file, json.dumps(names, indent=1) + "\n")
            train, val, test = (len(names[part]) for part in PARTS)
            parts = f"{train} {data.random_split.kind} for training, {val} for validation, {test} for the test"
            rank_zero_info(f"Split by chance: {parts} ({file})")
