"""Keeps the checkpoint with the best value of a metric, and ignores values that are not a number."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
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


def forget_other_folders(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Drop what a checkpoint says of checkpoint files that are not in this run's folders.

    They are missing where the checkpoint was copied, and a stranger's checkpoint could name any file: Lightning removes
    files of that list when it saves better ones.

    Args:
        trainer: has the callbacks whose folders count.
        checkpoint: is changed.
    """
    callbacks = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
    folders = {Path(callback.dirpath).resolve() for callback in callbacks if callback.dirpath is not None}
    states = checkpoint.get("callbacks", {})
    for key, state in list(states.items()):
        if isinstance(state, dict) and "best_model_path" in state:
            paths = [state["best_model_path"], state.get("last_model_path"), state.get("kth_best_model_path")]
            named = [Path(path) for path in [*paths, *state.get("best_k_models", {})] if path]
            if any(path.resolve().parent not in folders or not path.is_file() for path in named):
                del states[key]
