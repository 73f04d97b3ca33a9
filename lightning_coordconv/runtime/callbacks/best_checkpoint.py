"""Callback that keeps the checkpoint with the best value of a metric, and never one whose value is NaN."""

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
