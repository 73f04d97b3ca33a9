"""Writes predictions as a table, in CSV format."""

import csv
from collections.abc import Mapping, Sequence
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BasePredictionWriter
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

from lightning_coordconv.core.figures import gathered, log_folder

Columns = Mapping[str, Tensor | list[str]]
"""Columns of a table by name: tensors (B,) or lists of B strings."""


class PredictionTable(BasePredictionWriter):
    """Writes what ``predict_step`` returns to ``predictions.csv`` in the run's folder, one row per sample.

    ``predict_step`` must return columns by name, each a tensor (B,) or a list of B strings. Under DDP the rows of all
    ranks go to one file, those of rank 0 first.
    """

    def __init__(self) -> None:
        super().__init__(write_interval="epoch")

    def write_on_epoch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        predictions: Sequence[Columns],
        batch_indices: Sequence[Any],
    ) -> None:
        """Gather the columns of all ranks and write them."""
        names = list(predictions[0]) if predictions else []  # a rank can be left without samples
        columns = {name: [value for batch in predictions for value in _values(batch[name])] for name in names}
        tables = [table for table in gathered(trainer, columns) if table]
        folder = log_folder(trainer)
        if folder is None or not tables:
            return
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "predictions.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(tables[0])
            for table in tables:
                writer.writerows(zip(*table.values(), strict=True))
        rank_zero_info(f"Wrote {sum(len(next(iter(table.values()))) for table in tables)} predictions to {path}.")


def _values(column: Tensor | list[str]) -> list[Any]:
    return column.tolist() if isinstance(column, Tensor) else column
