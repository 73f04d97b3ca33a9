"""Callbacks that write predictions to new files only (base class, CSV), and a function that detects such callbacks."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TextIO

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BasePredictionWriter, Callback
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

from lightning_coordconv.core.counts import count
from lightning_coordconv.core.files import complete_file
from lightning_coordconv.core.ranks import gathered

Columns = Mapping[str, Tensor | list[str]]
"""Columns of a table by name: tensors (B,) or lists of B strings."""


class WritesPredictions(Callback):
    """A callback that writes files with each prediction, and refuses to replace those of an earlier one.

    Attributes:
        outputs: names of the files and folders that it writes, in the folder of the run.
        folder: the folder of the run; set before the first prediction.
    """

    outputs: ClassVar[tuple[str, ...]] = ()
    folder: Path

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that no other callback writes the same.

        Raises:
            ValueError: naming the output and the callbacks.
        """
        super().setup(trainer, pl_module, stage)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # which Lightning does not declare
        for output in self.outputs:
            names = [
                type(callback).__name__
                for callback in callbacks
                if isinstance(callback, WritesPredictions) and output in callback.outputs
            ]
            if len(names) > 1:
                raise ValueError(f"{' and '.join(names)} would write the same {output}: leave one of them out")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the folder, and check that no output is there.

        Raises:
            FileExistsError: on every rank, naming an output of an earlier prediction.
        """
        self.folder = Path(trainer.log_dir or trainer.default_root_dir)  # broadcasts from the first rank
        earlier = [path for path in map(self.folder.joinpath, self.outputs) if path.exists()]
        found = trainer.strategy.broadcast(earlier[0] if earlier else None)
        if found is not None:
            raise FileExistsError(
                f"{found} is there from an earlier prediction, which would be replaced: move it away, or choose "
                "another version of the logger"
            )


def writes_predictions(callback: Callback) -> bool:
    """Tell whether a callback does something with predictions."""
    hooks = ("on_predict_batch_end", "on_predict_epoch_end", "on_predict_end")
    return any(getattr(type(callback), hook) is not getattr(Callback, hook) for hook in hooks)


class PredictionTable(WritesPredictions, BasePredictionWriter):
    """Writes what ``predict_step`` returns to ``predictions.csv`` in the run's folder, one row per sample.

    ``predict_step`` must return columns by name, each a tensor (B,) or a list of B strings. Under DDP the rows of all
    ranks go to one file, those of rank 0 first.
    """

    outputs = ("predictions.csv",)

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
        tables = [table for table in gathered(columns) if table]
        if not trainer.is_global_zero or not tables:
            return
        path = self.folder / "predictions.csv"
        with complete_file(path) as part, _writing(part) as file:
            writer = csv.writer(file)
            writer.writerow(tables[0])
            for table in tables:
                writer.writerows(zip(*table.values(), strict=True))
        rows = sum(len(next(iter(table.values()))) for table in tables)
        rank_zero_info(f"Wrote {count(rows, 'prediction')} to {path}.")


def _writing(path: Path) -> TextIO:
    """Open a table in UTF-8; names of files that are in another encoding keep their bytes."""
    return path.open("w", newline="", encoding="utf-8", errors="surrogateescape")


def _values(column: Tensor | list[str]) -> list[Any]:
    return column.tolist() if isinstance(column, Tensor) else column
