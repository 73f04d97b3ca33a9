"""Keeps the rows that are in the file of a ``CSVLogger`` when a run continues in its folder."""

import csv
import os
import warnings
from pathlib import Path

from pytorch_lightning import Trainer
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter


def keep_rows(trainer: Trainer) -> None:
    """Let the CSV loggers of a trainer append to the files that are there; Lightning deletes them at its first access.

    A resumed fit continues its file, and neither an evaluation in the folder of a fit nor a fit that is refused there
    removes a row. Call it before the loggers are used. A last line without an end, of a run that was killed as it
    wrote, is left out.
    """
    for logger in trainer.loggers if trainer.is_global_zero else ():
        if not isinstance(logger, CSVLogger):
            continue
        path = Path(logger.log_dir, ExperimentWriter.NAME_METRICS_FILE)
        if not path.is_file():
            continue
        kept = path.with_suffix(".kept")
        kept.write_bytes(complete_lines(path.read_bytes()))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Experiment logs directory .* exists and is not empty", UserWarning)
            experiment = logger.experiment
        os.replace(kept, path)
        with path.open(newline="") as file:
            experiment.metrics_keys = next(csv.reader(file), [])


def complete_lines(content: bytes) -> bytes:
    """Return the lines of a file that have an end."""
    return content[: content.rfind(b"\n") + 1]
