"""An epoch's training metrics go on where they stood."""

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torchmetrics import Metric


class TrainingMetrics(Callback):
    """Keep what an epoch's training metrics have seen in the checkpoint, summed up over ranks.

    A run that goes on within an epoch reports the whole of it, on any number of ranks: the first one goes on from what
    all had seen. It concerns the metrics among the task's attributes whose name begins with ``train``, also as a key of
    a ``ModuleDict``.
    """

    def __init__(self) -> None:
        self.restored: dict[str, Any] = {}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add ``training_metrics``: the epoch, and the states of each metric that has seen some of it."""
        seen: dict[str, Any] = {}
        for name, metric in _training_metrics(pl_module):
            if metric.update_called:
                with metric.sync_context():
                    states = {state: getattr(metric, state) for state in metric._defaults}
                    seen[name] = {"updates": metric.update_count, "states": _copied(states)}
        checkpoint["training_metrics"] = {"epoch": trainer.current_epoch, "seen": seen}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take the states."""
        self.restored = checkpoint.get("training_metrics", {})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore them, unless another epoch begins. Other ranks than the first begin with nothing."""
        restored = self.restored.get("seen", {}) if self.restored.get("epoch") == trainer.current_epoch else {}
        metrics = dict(_training_metrics(pl_module))
        for name in metrics.keys() & restored.keys():
            metric, seen = metrics[name], restored[name]
            if trainer.is_global_zero:
                for state, value in _copied(seen["states"]).items():
                    setattr(metric, state, value)
                metric.to(pl_module.device)
            metric._update_count = seen["updates"]
        self.restored = {}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin an epoch with nothing: Lightning calls this where one begins, not where a run goes on within it."""
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
