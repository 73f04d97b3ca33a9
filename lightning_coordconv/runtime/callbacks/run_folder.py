"""Callback that locks a fit's log folder, refuses one in use, corrects moved paths, and keeps the best checkpoint."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info

from lightning_coordconv.core.files import complete_file
from lightning_coordconv.runtime.errors import how_to_continue
from lightning_coordconv.runtime.locks import Lock

NAMES = ("best_model_path", "last_model_path", "kth_best_model_path")
"""Where the state of a callback names a checkpoint file."""


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
        """Lock the folder of a fit, and say which it is."""
        log_dir = trainer.log_dir
        if stage != "fit" or log_dir is None:
            return
        self.folder = Path(log_dir)
        problem = self._take(self.folder) if trainer.is_global_zero else None
        problem = trainer.strategy.broadcast(problem)
        if problem is not None:
            self._unlock()
            raise FileExistsError(problem)
        rank_zero_info(f"this run writes to {self.folder}")

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Let the checkpoint files that it names be those of this folder, which gets the best ones of another run."""
        if trainer.state.fn == TrainerFn.FITTING:
            bring_best(trainer, checkpoint)
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
        if self.ckpt_path == "last" and not checkpoints:
            rank_zero_info(f"{folder} holds no checkpoint yet: training starts from the beginning")
        resuming = self.ckpt_path == "last" or (self.ckpt_path and Path(self.ckpt_path).resolve() in checkpoints)
        if checkpoints and not resuming:
            return (
                f"{folder} holds the checkpoints of another run: resume it with --ckpt_path last, "
                "or choose another version of the logger"
            )
        return None


def bring_best(trainer: Trainer, checkpoint: Mapping[str, Any]) -> None:
    """Copy the best checkpoints so far into the folder of a fit that continues another run.

    The fit then tests the best of both, and ``--ckpt_path best`` finds it. All ranks must call it.

    Args:
        trainer: has the callbacks whose folders get the files, and the path of the checkpoint. Files in other folders
            than the checkpoint's are not copied, whatever it says.
        checkpoint: names the files.
    """
    source = Path(str(trainer.ckpt_path)).parent
    for callback, state in _states(trainer, checkpoint) if trainer.is_global_zero else ():
        for name in {Path(path).name for path in _paths(state) if callback.monitor is not None}:
            there, here = source / name, Path(str(callback.dirpath), name)
            if there.is_file() and there.suffix == callback.FILE_EXTENSION and not here.exists():
                with complete_file(here) as part:
                    shutil.copyfile(there, part)
                rank_zero_info(f"copied the best checkpoint by {callback.monitor} so far, {there}, to {here.parent}")
    trainer.strategy.barrier()


def keep_to_folders(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Let what a checkpoint says of checkpoint files mean the files of these names in this run's folders.

    The folder of a run can have been moved or copied. Where a file is missing, what is said of the best ones is
    dropped: a stranger's checkpoint could name any file, and Lightning removes files of that list when it saves better
    ones.

    Args:
        trainer: has the callbacks whose folders count.
        checkpoint: is changed.
    """
    for callback, state in _states(trainer, checkpoint):
        folder = Path(str(callback.dirpath))
        here = {path: str(folder / Path(path).name) for path in _paths(state)}
        if not all(Path(path).is_file() for path in here.values()):
            del checkpoint["callbacks"][callback.state_key]
            if callback.monitor is not None and trainer.state.fn == TrainerFn.FITTING:  # others keep no best
                rank_zero_info(
                    f"{folder} lacks the best checkpoint by {callback.monitor} so far: the best from now on is kept"
                )
            continue
        moved = {name: here.get(state[name], "") for name in NAMES if name in state}
        best = {here[path]: value for path, value in state.get("best_k_models", {}).items()}
        checkpoint["callbacks"][callback.state_key] = (
            state | moved | {"best_k_models": best, "dirpath": callback.dirpath}
        )


def _states(trainer: Trainer, checkpoint: Mapping[str, Any]) -> list[tuple[ModelCheckpoint, dict[str, Any]]]:
    """Return the callbacks that save checkpoints, each with its state in a checkpoint."""
    states = checkpoint.get("callbacks", {})
    saving = [each for each in trainer.checkpoint_callbacks if isinstance(each, ModelCheckpoint) and each.dirpath]
    return [(each, states[each.state_key]) for each in saving if isinstance(states.get(each.state_key), dict)]


def _paths(state: Mapping[str, Any]) -> list[str]:
    """Return the checkpoint files that the state of a callback names."""
    return [path for path in [*(state.get(name) for name in NAMES), *state.get("best_k_models", {})] if path]
