"""Classification of images (the paper's supplement: ImageNet; and whatever else has images and labels)."""

from typing import Any, ClassVar, Literal

import torch
from pytorch_lightning import Callback
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from lightning_coordconv.classification.metrics import TopKAccuracy
from lightning_coordconv.core.predictions import PredictionTable
from lightning_coordconv.core.task import Batch, NetworkTask, Outputs


class ImageClassification(NetworkTask):
    """Tell the class of an image.

    The loss is the cross-entropy. Metrics: ``top1`` and ``top5``, the share of images whose true class is the most
    probable, or among the five most probable (higher is better; with five classes or fewer ``top5`` is 1).

    Args:
        net: maps images (B, C, H, W) to logits (B, K).
        optimizer: see :class:`~lightning_coordconv.core.NetworkTask` for the following three; here ``weight_decay``
            applies to all weights, as in torchvision's reference recipes.
        lr_scheduler: builds the learning rate schedule.
        lr_scheduler_interval: ``"epoch"`` or ``"step"``.

    Raises:
        ValueError: when it meets a label for which the network has no output.
    """

    sample_keys: ClassVar[frozenset[str]] = frozenset({"image", "label"})
    monitor: str = "val/top1"
    mode: ClassVar[Literal["min", "max"]] = "max"
    stopping_threshold: ClassVar[float | None] = 1.0

    def __init__(
        self,
        net: nn.Module,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
    ) -> None:
        metrics: dict[str, Metric] = {"top1": TopKAccuracy(1), "top5": TopKAccuracy(5)}
        super().__init__(net, metrics, optimizer, lr_scheduler, lr_scheduler_interval)

    def figures(self) -> list[Callback]:
        """Return the table of predictions."""
        return [PredictionTable()]

    def evaluate(self, batch: Batch) -> Outputs:
        """Return ``loss``, logits ``preds`` (B, K) and true classes ``target`` (B,)."""
        logits, label = self.net(batch["image"]), batch["label"]
        highest = int(label.max())  # on a GPU the cross-entropy would stop with an assertion that names nothing
        if highest >= logits.shape[1]:
            raise ValueError(
                f"the network tells {logits.shape[1]} classes apart, but there is a label {highest}: "
                f"set its num_classes to at least {highest + 1}"
            )
        return {"loss": F.cross_entropy(logits, label), "preds": logits.detach(), "target": label}

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return the columns (B,) of a table: what else is known of the samples, and what was predicted."""
        probability, predicted = self.evaluate(batch)["preds"].softmax(1).max(1)
        known = {key: value for key, value in batch.items() if key != "image"}
        correct = predicted == batch["label"]
        return {**known, "predicted": predicted, "probability": probability, "correct": correct}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Let the weight decay apply to everything."""
        return [{"params": [parameter for parameter in self.parameters() if parameter.requires_grad]}]
