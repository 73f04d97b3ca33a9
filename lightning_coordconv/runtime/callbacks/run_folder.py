"""Gives each run a log folder that no other run uses."""

import os
import sys
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_coordconv.runtime.callbacks.best_checkpoint import keep_own_files


class RunFolder(Callback):
    """Ensures that a fit has its log folder to itself, so that no run overwrites another.

    Args:
        ckpt_path: the checkpoint that the fit resumes from: a file, one of Lightning's keywords, or None.

    Raises:
        FileExistsError: if another process is fitting into the folder, or the folder holds checkpoints and the fit does
            not resume from one of them. Raised on every rank.
    """

    def __init__(self, ckpt_path: str | Path | None = None) -> None:
        self.ckpt_path = ckpt_path
        self.folder: int | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Lock the folder of a fit."""
        log_dir = trainer.log_dir
        if stage != "fit" or log_dir is None:
            return
        problem = self._take(Path(log_dir)) if trainer.is_global_zero else None
        problem = trainer.strategy.broadcast(problem)
        if problem is not None:
            self._unlock()
            raise FileExistsError(problem)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Find the checkpoint files that it names in the folders of this run."""
        keep_own_files(trainer, checkpoint)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Unlock it; so does the end of the process."""
        self._unlock()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Unlock it after a failure: Lightning calls no teardown then."""
        self._unlock()

    def _unlock(self) -> None:
        if self.folder is not None:
            os.close(self.folder)
            self.folder = None

    def _take(self, folder: Path) -> str | None:
        folder.mkdir(parents=True, exist_ok=True)
        if not self._lock(folder):
            return f"another run is writing to {folder}: choose another version of the logger"
        checkpoints = list(folder.resolve().glob("checkpoints/*.ckpt"))
        if not checkpoints:
            return None
        if self.ckpt_path == "last" and not any(path.name.startswith("last") for path in checkpoints):
            return (
                f"{folder} holds checkpoints, but no last.ckpt to resume from: give --ckpt_path one of them, or choose "
                "another version of the logger"
            )
        if self.ckpt_path != "last" and not (self.ckpt_path and Path(self.ckpt_path).resolve() in checkpoints):
            return (
                f"{folder} holds the checkpoints of another run: resume it with --ckpt_path last, "
                "or choose another version of the logger"
            )
        return None

    def _lock(self, folder: Path) -> bool:
        if sys.platform == "win32":
            return True
        import fcntl

        self.folder = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(self.folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
