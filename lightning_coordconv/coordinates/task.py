"""The paper's three coordinate tasks: where is it, put it there, paint it there (sections 4.1 to 4.3)."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pytorch_lightning import Callback
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from lightning_coordconv.coordinates.figures import CoordinateFigures
from lightning_coordconv.coordinates.metrics import PaintedIoU, PixelDistance, PositionAccuracy, painted_iou
from lightning_coordconv.core.predictions import PredictionTable
from lightning_coordconv.core.task import Batch, NetworkTask, Outputs


class CoordinateTask(NetworkTask):
    """What the three have in common: one network input, one row of a report per position.

    The test runs over two loaders, held-out positions (``test/...``) and training positions (``test_train/...``).
    """

    stages: ClassVar[tuple[str, ...]] = ("train", "val", "test", "test_train")

    def __init__(
        self,
        net: nn.Module,
        metrics: Mapping[str, Metric],
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
    ) -> None:
        super().__init__(net, metrics, optimizer, lr_scheduler, lr_scheduler_interval)
        self.test_train_metrics = self.val_metrics.clone(prefix="test_train/")

    def figures(self) -> list[Callback]:
        """Return the figures of a test, and the table of predictions."""
        return [CoordinateFigures(), PredictionTable()]

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Outputs:
        """Update the metrics of held-out positions (loader 0) or training positions (loader 1)."""
        stage, metrics = (("test", self.test_metrics), ("test_train", self.test_train_metrics))[dataloader_idx]
        return self._step(batch, metrics, stage)

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Outputs:
        """Return the report of a batch."""
        return self.report(batch, self.evaluate(batch))

    def report(self, batch: Batch, outputs: Outputs) -> Outputs:
        """Return the columns (B,) of a table: where each position is, what was predicted, and whether it is right."""
        x, y = batch["location"].unbind(1)
        return {"x": x, "y": y, "held_out": batch["held_out"], **self.judge(outputs)}

    def judge(self, outputs: Outputs) -> Outputs:
        """Return the columns (B,) that say what was predicted, and ``correct``."""
        x, y = outputs["preds"].unbind(1)
        correct = (outputs["preds"] - outputs["target"]).abs().amax(1) <= 0.5
        return {"predicted_x": x, "predicted_y": y, "correct": correct}

    def paint(self, batch: Batch, outputs: Outputs) -> tuple[Tensor, Tensor] | None:
        """Return what was to be painted and what was, (B, H, W) in [0, 1]; None where the canvas is the input."""
        return None


class CoordinateClassification(CoordinateTask):
    """Paint one pixel: from (x, y), the pixel at row y and column x among all (section 4.1).

    The loss is the cross-entropy over the pixels of the canvas. Metrics: ``accuracy`` (the very pixel, higher is
    better), ``distance`` and ``manhattan`` (pixels between the most probable and the true pixel, lower is better).

    Args:
        net: maps positions (B, 2) to logits (B, H, W).
        optimizer: see :class:`~lightning_coordconv.core.NetworkTask` for this and the following.
        lr_scheduler: builds the learning rate schedule.
        lr_scheduler_interval: ``"epoch"`` or ``"step"``.
    """

    sample_keys: ClassVar[frozenset[str]] = frozenset({"position", "pixel", "onehot", "location", "held_out"})
    monitor: str = "val/accuracy"
    mode: ClassVar[Literal["min", "max"]] = "max"
    stopping_threshold: ClassVar[float | None] = 1.0

    def __init__(
        self,
        net: nn.Module,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
    ) -> None:
        metrics: dict[str, Metric] = {
            "accuracy": PositionAccuracy(),
            "distance": PixelDistance(),
            "manhattan": PixelDistance(norm=1),
        }
        super().__init__(net, metrics, optimizer, lr_scheduler, lr_scheduler_interval)

    def evaluate(self, batch: Batch) -> Outputs:
        """Return ``loss``, most probable locations ``preds`` (B, 2), true ones ``target``, and ``logits`` (B, H, W)."""
        logits = self.net(batch["position"])
        flat = logits.flatten(1)
        peak = flat.detach().argmax(1)
        width = logits.shape[-1]
        return {
            "loss": F.cross_entropy(flat, batch["pixel"]),
            "preds": torch.stack([peak % width, peak // width], dim=1),
            "target": batch["location"],
            "logits": logits,
        }

    def paint(self, batch: Batch, outputs: Outputs) -> tuple[Tensor, Tensor]:
        """Return the one-hot images and the probability of each pixel."""
        logits = outputs["logits"]
        return batch["onehot"].squeeze(1), logits.flatten(1).softmax(1).view_as(logits)


class CoordinateRegression(CoordinateTask):
    """Read one pixel: from an image with a single 1, where it is (section 4.2).

    The loss is the mean squared error of (x, y) in units of the canvas. Metrics: ``distance`` (Euclidean, in pixels,
    lower is better) and ``accuracy`` (share within half a pixel in x and y, higher is better). A mean error of a
    hundredth of a pixel needs no further training.

    Args:
        net: maps images (B, 1, H, W) to positions (B, 2) in units of the canvas, [0, 1).
        optimizer: see :class:`~lightning_coordconv.core.NetworkTask` for this and the following.
        lr_scheduler: builds the learning rate schedule.
        lr_scheduler_interval: ``"epoch"`` or ``"step"``.
    """

    sample_keys: ClassVar[frozenset[str]] = frozenset({"onehot", "location", "held_out"})
    monitor: str = "val/distance"
    stopping_threshold: ClassVar[float | None] = 0.01

    def __init__(
        self,
        net: nn.Module,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
    ) -> None:
        metrics: dict[str, Metric] = {"distance": PixelDistance(), "accuracy": PositionAccuracy(tolerance=0.5)}
        super().__init__(net, metrics, optimizer, lr_scheduler, lr_scheduler_interval)

    def evaluate(self, batch: Batch) -> Outputs:
        """Return ``loss``, and predicted and true locations ``preds`` and ``target`` (B, 2) in pixels."""
        height, width = batch["onehot"].shape[-2:]
        canvas = batch["location"].new_tensor([width, height])
        predicted = self.net(batch["onehot"])
        return {
            "loss": F.mse_loss(predicted, batch["location"] / canvas),
            "preds": predicted.detach() * canvas,
            "target": batch["location"],
        }


class CoordinateRendering(CoordinateTask):
    """Paint a square: from (x, y), the image of the square centred there (section 4.3).

    The loss is the cross-entropy of each pixel. Metric: ``iou`` of the pixels painted with a probability above one
    half, averaged over images (higher is better). An IoU of 0.999, a pixel wrong in a dozen squares, needs no further
    training.

    Args:
        net: maps positions (B, 2) to logits (B, H, W), or to a pair of them: those of the image, and those of the pixel
            at the centre of the square.
        centre_weight: weight of the cross-entropy of the centre beside that of the image, for a net that tells it; the
            option ``-interm softmax`` of the authors' code, which they leave out by default.
        optimizer: see :class:`~lightning_coordconv.core.NetworkTask` for this and the following.
        lr_scheduler: builds the learning rate schedule.
        lr_scheduler_interval: ``"epoch"`` or ``"step"``.

    Raises:
        ValueError: for a negative ``centre_weight``, or a positive one with a net that does not tell the centre.
    """

    sample_keys: ClassVar[frozenset[str]] = frozenset({"position", "pixel", "image", "location", "held_out"})
    monitor: str = "val/iou"
    mode: ClassVar[Literal["min", "max"]] = "max"
    stopping_threshold: ClassVar[float | None] = 0.999

    def __init__(
        self,
        net: nn.Module,
        centre_weight: float = 0.0,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
    ) -> None:
        super().__init__(net, {"iou": PaintedIoU()}, optimizer, lr_scheduler, lr_scheduler_interval)
        if centre_weight < 0:
            raise ValueError(f"centre_weight must not be negative, got {centre_weight}")
        self.centre_weight = centre_weight

    def evaluate(self, batch: Batch) -> Outputs:
        """Return ``loss``, and the painted and the true image ``preds`` and ``target`` (B, H, W) in [0, 1]."""
        painted = self.net(batch["position"])
        logits, centre = painted if isinstance(painted, tuple) else (painted, None)
        target = batch["image"].squeeze(1)
        loss = F.binary_cross_entropy_with_logits(logits, target)
        if self.centre_weight:
            if centre is None:
                raise ValueError(f"centre_weight={self.centre_weight} needs a net that tells the centre of the square")
            loss = loss + self.centre_weight * F.cross_entropy(centre.flatten(1), batch["pixel"])
        return {"loss": loss, "preds": logits.detach().sigmoid(), "target": target}

    def judge(self, outputs: Outputs) -> Outputs:
        """Return the columns (B,) ``iou`` and ``correct``: every pixel right."""
        iou = painted_iou(outputs["preds"], outputs["target"])
        return {"iou": iou, "correct": iou == 1}

    def paint(self, batch: Batch, outputs: Outputs) -> tuple[Tensor, Tensor]:
        """Return the images of the square and the probability that each pixel is painted."""
        return outputs["target"], outputs["preds"]
