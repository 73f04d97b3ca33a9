"""Functions that remove the folder of a run that was refused: Lightning's loggers make it before the data are read."""

import shutil
from fnmatch import fnmatch
from pathlib import Path

from pytorch_lightning import Trainer
from pytorch_lightning.utilities import rank_zero_only

FIRST = ("config.yaml", "hparams.yaml", "events.out.tfevents.*")
"""Files that a run has from its beginning."""


def missing_folders(folder: str | Path | None) -> list[Path]:
    """Return a folder and those that hold it, the innermost first, as far as they do not exist yet."""
    return [] if folder is None else [path for path in (Path(folder), *Path(folder).parents) if not path.exists()]


@rank_zero_only
def remove_unused(trainer: Trainer, folders: list[Path]) -> None:
    """Remove the folders that a run made, if it trained no step, and wrote nothing but what a run begins with.

    Args:
        trainer: of the run, which has ended with an error.
        folders: see :func:`missing_folders`, which was called before the run.
    """
    if trainer.global_step or not folders or not folders[0].is_dir():
        return
    files = [path.name for path in folders[0].rglob("*") if not path.is_dir()]
    if all(any(fnmatch(file, name) for name in FIRST) for file in files):
        shutil.rmtree(folders[0])
        for folder in folders[1:]:
            if any(folder.iterdir()):  # of another run
                break
            folder.rmdir()
