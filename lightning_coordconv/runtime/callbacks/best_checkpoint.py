"""Callback that keeps the checkpoint with the best metric, and a function that corrects paths where a run was moved."""

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
