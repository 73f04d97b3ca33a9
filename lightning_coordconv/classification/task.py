"""The task of image classification: trains and evaluates a network that predicts a class for each image."""

from typing import Any, ClassVar, Literal

import torch
from pytorch_lightning import Callback
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from lightning_coordconv.classification.figures import ConfusionFigure
from lightning_coordconv.classification.metrics import TopKAccuracy, predicted_class
from lightning_coordconv.core.labels import LabelledTask
from lightning_coordconv.core.predictions import PredictionTable
from lightning_coordconv.core.protocols import data_module
from lightning_coordconv.core.task import Batch, Outputs


class ImageClassification(LabelledTask):
    """Predicts the class of an image.

    The loss is the cross-entropy. Metrics: ``top1`` and ``top5``, the share of images whose true class is the most
    probable, or among the five most probable (higher is better; with five classes or fewer ``top5`` is 1). Of equally
    probable classes the first come first.

    Args:
        net: maps images (B, C, H, W) to logits (B, K).
        optimizer: see :class:`~lightning_coordconv.core.NetworkTask` for the following three; here ``weight_decay``
            applies to all weights, as in torchvision's reference recipes.
        lr_scheduler: builds the learning rate schedule.
        lr_scheduler_interval: ``"epoch"`` or ``"step"``.
        compile: compile the network with ``torch.compile``.
        channels_last: keep its weights in the memory format channels last.

    Raises:
        ValueError: in a step, if the network has fewer outputs than the data module has ``num_classes``, or none for a
            label. If it has more, as a head that was trained on more classes, a run reports it.
    """

    sample_keys: frozenset[str] = frozenset({"image", "label"})
    monitor: str = "val/top1"
    mode: ClassVar[Literal["min", "max"]] = "max"
    stopping_threshold: ClassVar[float | None] = 1.0

    def __init__(
        self,
        net: nn.Module,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
        compile: bool = False,
        channels_last: bool = False,
    ) -> None:
        metrics: dict[str, Metric] = {"top1": TopKAccuracy(1), "top5": TopKAccuracy(5)}
        super().__init__(
            net, metrics, optimizer, lr_scheduler, lr_scheduler_interval, compile=compile, channels_last=channels_last
        )
        self.num_classes: int | None = None
        self.unequal: int | None = None
        """Number of outputs of the network that was reported to have more than the data have classes."""

    def setup(self, stage: str) -> None:
        """Note the number of classes of the data."""
        super().setup(stage)
        self.num_classes = getattr(data_module(self.trainer), "num_classes", None)

    def figures(self) -> list[Callback]:
        """Return the table of predictions, and the confusion matrix of the test."""
        return [PredictionTable(), ConfusionFigure()]

    def evaluate(self, batch: Batch) -> Outputs:
        """Return ``loss``, logits ``preds`` (B, K) and true classes ``target`` (B,)."""
        logits, label = self.net(batch["image"]), batch["label"].long()  # as torch's cross-entropy needs them
        outputs = logits.shape[1]
        if outputs not in (self.num_classes, self.unequal):
            self._compare(outputs)
        self.check_labels(batch, outputs)
        return {"loss": F.cross_entropy(logits, label), "preds": logits.detach(), "target": label}

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return the columns (B,) of a table: the samples' values but the image, and the prediction.

        With the samples' ``label``, if they have it, the prediction is compared.
        """
        logits = self.evaluate(batch)["preds"] if "label" in batch else self.net(batch["image"])
        predicted = predicted_class(logits)
        probability = logits.softmax(1).gather(1, predicted[:, None])[:, 0]
        known = {key: value for key, value in batch.items() if key != "image"}
        compared = {"correct": predicted == batch["label"]} if "label" in batch else {}
        return {**known, "predicted": predicted, "probability": probability, **compared}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return one group of all weights, so that the weight decay applies to all."""
        return [{"params": [parameter for parameter in self.parameters() if parameter.requires_grad]}]

    def _compare(self, outputs: int) -> None:
        """Refuse a network with fewer outputs than there are classes, and report one with more, once."""
        if self.num_classes is None:
            return
        advice = f"but the data have {self.num_classes} classes: set the network's num_classes to {self.num_classes}"
        if outputs < self.num_classes:
            raise ValueError(f"the network has {outputs} outputs, {advice}")
        rank_zero_info(f"The network has {outputs} outputs, {advice}, unless it was trained on more.")
        self.unequal = outputs
