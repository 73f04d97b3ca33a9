"""Callback that saves the training metrics of an unfinished epoch in checkpoints, and restores them."""

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torchmetrics import Metric

from lightning_coordconv.core._lightning import set_update_count


class TrainingMetrics(Callback):
    """Saves the state of an epoch's training metrics in the checkpoint, summed over ranks.

    A run that is resumed within an epoch reports the metrics of the whole epoch, on any number of ranks: the first rank
    restores the sum. The metrics concerned are those among the task's attributes whose name begins with ``train``, also
    as a key of a ``ModuleDict``.
    """

    def __init__(self) -> None:
        self.restored: dict[str, Any] = {}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add ``training_metrics``: the epoch, and the states of each metric that has seen some of it."""
        seen: dict[str, Any] = {}
        for name, metric in _training_metrics(pl_module):
            if metric.update_called:
                with metric.sync_context():
                    seen[name] = {"updates": metric.update_count, "states": _copied(metric.metric_state)}
        checkpoint["training_metrics"] = {"epoch": trainer.current_epoch, "seen": seen}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the states until training starts."""
        self.restored = checkpoint.get("training_metrics", {})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the states on the first rank, if the same epoch continues."""
        restored = self.restored.get("seen", {}) if self.restored.get("epoch") == trainer.current_epoch else {}
        metrics = dict(_training_metrics(pl_module))
        for name in metrics.keys() & restored.keys():
            metric, seen = metrics[name], restored[name]
            if trainer.is_global_zero:
                for state, value in _copied(seen["states"]).items():
                    if state in metric.metric_state:  # a made-up checkpoint could name any attribute
                        setattr(metric, state, value)
                metric.to(pl_module.device)
            set_update_count(metric, seen["updates"])
        self.restored = {}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the metrics. Lightning does not call this for an epoch that is resumed in the middle."""
        for _, metric in _training_metrics(pl_module):
            metric.reset()


def _training_metrics(module: LightningModule) -> list[tuple[str, Metric]]:
    return [
        (name, metric)
        for name, metric in module.named_modules()
        if isinstance(metric, Metric) and any(part.startswith("train") for part in name.split("."))
    ]


def _copied(states: dict[str, Any]) -> dict[str, Any]:
    """Return copies of a metric's states, tensors or lists of them."""
    return {
        name: state.detach().clone()
        if isinstance(state, torch.Tensor)
        else [tensor.detach().clone() for tensor in state]
        for name, state in states.items()
    }
