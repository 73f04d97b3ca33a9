"""Callback that locks a fit's log folder, refuses another run's, and corrects paths in checkpoints of moved folders."""

from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info

from lightning_coordconv.runtime.errors import how_to_continue
from lightning_coordconv.runtime.locks import Lock


class RunFolder(Callback):
    """Ensures that a fit has its log folder to itself, so that no run overwrites another.

    Args:
        ckpt_path: the checkpoint that the fit resumes from: a file, one of Lightning's keywords, or None.

    Raises:
        FileExistsError: if another process is fitting into the folder, or the folder holds checkpoints and the fit does
            not resume from one of them, or is to resume from the last and the folder has none. Raised on every rank.
    """

    def __init__(self, ckpt_path: str | Path | None = None) -> None:
        self.ckpt_path = ckpt_path
        self.lock: Lock | None = None
        self.folder: Path | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Lock the folder of a fit."""
        log_dir = trainer.log_dir
        if stage != "fit" or log_dir is None:
            return
        self.folder = Path(log_dir)
        problem = self._take(self.folder) if trainer.is_global_zero else None
        problem = trainer.strategy.broadcast(problem)
        if problem is not None:
            self._unlock()
            raise FileExistsError(problem)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Let the checkpoint files that it names be those of this folder."""
        keep_to_folders(trainer, checkpoint)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Unlock it; so does the end of the process."""
        self._unlock()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Unlock it after a failure, as Lightning calls no teardown then; after Ctrl-C say how to continue the run."""
        if isinstance(exception, KeyboardInterrupt) and self.folder is not None:
            rank_zero_info(f"interrupted: {how_to_continue(self.folder)}")
        self._unlock()

    def _unlock(self) -> None:
        if self.lock is not None:
            self.lock.release()

    def _take(self, folder: Path) -> str | None:
        folder.mkdir(parents=True, exist_ok=True)
        self.lock = Lock(folder)
        if not self.lock.take():
            return f"another run is writing to {folder}: choose another version of the logger"
        checkpoints = list(folder.resolve().glob("checkpoints/*.ckpt"))
        if self.ckpt_path == "last" and checkpoints and not any(path.name.startswith("last") for path in checkpoints):
            names = ", ".join(sorted(path.name for path in checkpoints))
            return f"{folder} holds no last.ckpt to resume from: give --ckpt_path one of {names}"
        resuming = self.ckpt_path == "last" or (self.ckpt_path and Path(self.ckpt_path).resolve() in checkpoints)
        if checkpoints and not resuming:
            return (
                f"{folder} holds the checkpoints of another run: resume it with --ckpt_path last, "
                "or choose another version of the logger"
            )
        return None


def keep_to_folders(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Let what a checkpoint says of checkpoint files mean the files of these names in this run's folders.

    The folder of a run can have been moved or copied. Where a file is missing, what is said of the best ones is
    dropped: a stranger's checkpoint could name any file, and Lightning removes files of that list when it saves better
    ones.

    Args:
        trainer: has the callbacks whose folders count.
        checkpoint: is changed.
    """
    states = checkpoint.get("callbacks", {})
    for callback in trainer.checkpoint_callbacks:
        state = states.get(callback.state_key)
        if not isinstance(callback, ModelCheckpoint) or callback.dirpath is None or not isinstance(state, dict):
            continue
        folder = Path(callback.dirpath)
        names = ("best_model_path", "last_model_path", "kth_best_model_path")
        named = [state.get(name) for name in names] + list(state.get("best_k_models", {}))
        here = {path: str(folder / Path(path).name) for path in named if path}
        missing = sorted({path for path in here.values() if not Path(path).is_file()})
        if missing:
            del states[callback.state_key]
            if callback.monitor is not None and trainer.state.fn == TrainerFn.FITTING:  # others keep no best
                rank_zero_info(
                    f"{folder} lacks the best checkpoint by {callback.monitor} so far: the best from now on is kept"
                )
            continue
        moved = {name: here.get(state.get(name), "") for name in names if name in state}
        best = {here[path]: value for path, value in state.get("best_k_models", {}).items()}
        states[callback.state_key] = state | moved | {"best_k_models": best, "dirpath": callback.dirpath}
