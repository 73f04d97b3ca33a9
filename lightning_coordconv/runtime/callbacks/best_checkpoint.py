"""Keeps the checkpoint with the best value of a metric, and ignores values that are not a number."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor


class BestCheckpoint(ModelCheckpoint):
    """Lightning's ``ModelCheckpoint``, except that a metric that is NaN is never the best.

    Lightning takes NaN for the worst value, and so for the best one as long as there is no other.
    """

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Tell whether to save a checkpoint with this metric."""
        if current is not None and bool(torch.isnan(current)):
            return False
        return super().check_monitor_top_k(trainer, current)


def keep_own_files(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Look for the checkpoint files that a checkpoint names in this run's folders, and forget those that are missing.

    They are elsewhere where the folder of a run was copied or renamed, and missing where only a checkpoint was copied.
    A stranger's checkpoint could name any file: Lightning removes files of that list when it saves better ones.

    Args:
        trainer: has the callbacks whose folders count.
        checkpoint: is changed.
    """
    callbacks = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
    folders = {callback.state_key: callback.dirpath for callback in callbacks if callback.dirpath is not None}
    states = checkpoint.get("callbacks", {})
    for key, state in list(states.items()):
        if not isinstance(state, dict) or "best_model_path" not in state:
            continue
        own = _moved(state, str(folders[key])) if key in folders else None
        if own is not None:
            states[key] = own
        else:
            del states[key]
            if key in folders and state.get("monitor") and trainer.state.fn == TrainerFn.FITTING:
                best = state["best_model_path"]
                rank_zero_info(f"the best checkpoint so far, {best}, is not in {folders[key]}: it is forgotten")


def _moved(state: dict[str, Any], folder: str) -> dict[str, Any] | None:
    """Return the state of a ``ModelCheckpoint`` with its files in another folder; None if one of them is not there."""

    def move(path: str) -> str:
        return str(Path(folder, Path(path).name)) if path else ""

    names = ("best_model_path", "last_model_path", "kth_best_model_path")
    moved = state | {"dirpath": folder} | {name: move(state[name]) for name in names if name in state}
    moved["best_k_models"] = {move(path): score for path, score in state.get("best_k_models", {}).items()}
    paths = [*(moved[name] for name in names if name in moved), *moved["best_k_models"]]
    return moved if all(Path(path).is_file() for path in paths if path) else None
