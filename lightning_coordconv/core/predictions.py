"""Predictions as a table."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BasePredictionWriter
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

from lightning_coordconv.core.figures import gathered


class PredictionTable(BasePredictionWriter):
    """Write what ``predict_step`` returns, dicts of columns, to ``predictions.csv`` beside the logs.

    A column is a tensor (B,) or a list of B strings.

    Under DDP the rows of all ranks go to one file, rank after rank.
    """

    def __init__(self) -> None:
        super().__init__(write_interval="epoch")

    def write_on_epoch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        predictions: Sequence[Mapping[str, Tensor | list[str]]],
        batch_indices: Sequence[Any],
    ) -> None:
        """Gather the columns and write them."""
        columns = {key: [value for batch in predictions for value in _column(batch[key])] for key in predictions[0]}
        parts = gathered(trainer, columns)
        log_dir = trainer.log_dir  # of the first rank, which tells the others: every rank must ask
        if not trainer.is_global_zero:
            return
        path = Path(log_dir or trainer.default_root_dir, "predictions.csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            for part in parts:
                writer.writerows(zip(*part.values(), strict=True))
        rank_zero_info(f"{sum(len(next(iter(part.values()))) for part in parts)} predictions in {path}")


def _column(values: Tensor | list[str]) -> list[Any]:
    return values.tolist() if isinstance(values, Tensor) else values
