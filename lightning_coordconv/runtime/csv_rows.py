"""Functions that drop a file's incomplete last line, and make CSVLogger append to a resumed run's ``metrics.csv``."""

import csv
import warnings
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities import rank_zero_only

from lightning_coordconv.core.files import write_text


@rank_zero_only
def keep_rows(logger: CSVLogger) -> None:
    """Start a logger, and let it append to the ``metrics.csv`` that is in its folder.

    Rows that were logged after the checkpoint are kept too, so that a step can occur twice. A last row that a killed
    process left incomplete is dropped.
    """
    path = Path(logger.log_dir, "metrics.csv")
    if not path.is_file():
        return
    rows = complete_lines(path.read_bytes()).decode()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Experiment logs directory")  # it says that files will be deleted
        writer = logger.experiment
    write_text(path, rows)
    writer.metrics_keys = next(csv.reader(rows.splitlines()), [])


def complete_lines(content: bytes) -> bytes:
    """Return the lines of a file that have an end; a killed process can leave a part of the last one."""
    return content[: content.rfind(b"\n") + 1]
