"""The paper's three coordinate tasks (classification, regression and rendering), and their base class."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pytorch_lightning import Callback
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from lightning_coordconv.coordinates.figures import CoordinateFigures
from lightning_coordconv.coordinates.metrics import PixelDistance, PixelIoU, PositionAccuracy, pixel_iou
from lightning_coordconv.core.full_precision import in_full_precision
from lightning_coordconv.core.network_task import NetworkTask
from lightning_coordconv.core.predictions import PredictionTable
from lightning_coordconv.core.task import Batch, Outputs
from lightning_coordconv.core.undefined import is_undefined


class CoordinateTask(NetworkTask):
    """Base class of the three tasks, whose tests go over two loaders and whose predictions are one row per position.

    The loaders of a test are held-out positions (``test/...``) and training positions (``test_train/...``).

    Args:
        net: the network that is trained.
        metrics: by name; see :class:`~lightning_coordconv.core.NetworkTask`.
        **kwargs: its further arguments.
    """

    stages: ClassVar[tuple[str, ...]] = ("train", "val", "test", "test_train")

    def __init__(self, net: nn.Module, metrics: Mapping[str, Metric], **kwargs: Any) -> None:
        super().__init__(net, metrics, **kwargs)
        self.test_train_metrics = self.val_metrics.clone(prefix="test_train/")

    def figures(self) -> list[Callback]:
        """Return the figures of a test, and the table of predictions."""
        return [CoordinateFigures(), PredictionTable()]

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Outputs:
        """Update the metrics of held-out positions (loader 0) or training positions (loader 1)."""
        stage, metrics = (("test", self.test_metrics), ("test_train", self.test_train_metrics))[dataloader_idx]
        return self._step(batch, metrics, stage)

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Outputs:
        """Return the columns of a table of predictions; see :meth:`report`."""
        return self.report(batch, self.evaluate(batch))

    def report(self, batch: Batch, outputs: Outputs) -> Outputs:
        """Return the columns (B,) of a table: the true position, the prediction, and whether it is right."""
        x, y = batch["xy"].unbind(1)
        return {"x": x, "y": y, "held_out": batch["held_out"], **self.prediction_columns(outputs)}

    def prediction_columns(self, outputs: Outputs) -> Outputs:
        """Return the columns (B,) of the prediction, and ``correct``."""
        x, y = outputs["preds"].unbind(1)
        correct = (outputs["preds"] - outputs["target"]).abs().amax(1) <= 0.5
        return {"predicted_x": x, "predicted_y": y, "correct": correct}

    def image_pair(self, batch: Batch, outputs: Outputs) -> tuple[Tensor, Tensor] | None:
        """Return the target and the predicted images (B, H, W) in [0, 1]; None if the network predicts no image."""
        return None

    def check_canvas(self, predicted: Tensor, target: Tensor) -> None:
        """Raise an error unless predicted (B, H, W) and target images (B, 1, H, W) have the same height and width."""
        if predicted.shape[-2:] != target.shape[-2:]:
            raise ValueError(
                f"the network's output has {_size(predicted)} pixels, the canvas of the data {_size(target)}: "
                "give net and data the same canvas"
            )


class CoordinateClassification(CoordinateTask):
    """Predicts one pixel of the canvas: from (x, y), the pixel at row y and column x (section 4.1).

    The loss is the cross-entropy over the pixels of the canvas. Metrics: ``accuracy`` (share of positions whose most
    probable pixel is the true one, higher is better), ``distance`` and ``manhattan`` (Euclidean and Manhattan distance
    of the two in pixels, lower is better).

    Args:
        net: maps positions (B, 2) to logits (B, H, W).
        optimizer: see :class:`~lightning_coordconv.core.NetworkTask` for this and the following.
        lr_scheduler: builds the learning rate schedule.
        lr_scheduler_interval: ``"epoch"`` or ``"step"``.
        compile: compile the network with ``torch.compile``.
        channels_last: keep its weights in the memory format channels last.

    Raises:
        ValueError: in a step, if the network's output and the canvas of the data differ in size.
    """

    sample_keys: frozenset[str] = frozenset({"xy_scaled", "pixel_index", "onehot", "xy", "held_out"})
    monitor: str = "val/accuracy"
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
        metrics: dict[str, Metric] = {
            "accuracy": PositionAccuracy(),
            "distance": PixelDistance(),
            "manhattan": PixelDistance(norm=1),
        }
        super().__init__(
            net,
            metrics,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_interval=lr_scheduler_interval,
            compile=compile,
            channels_last=channels_last,
        )

    def evaluate(self, batch: Batch) -> Outputs:
        """Return ``loss``, ``logits`` (B, H, W), and the predicted and true (x, y) ``preds`` and ``target`` (B, 2).

        A position is NaN if a logit is NaN or infinite: then there is no most probable pixel.
        """
        logits = self.net(batch["xy_scaled"])
        self.check_canvas(logits, batch["onehot"])
        flat = logits.flatten(1)
        peak = flat.detach().argmax(1)
        width = logits.shape[-1]
        position = torch.stack([peak % width, peak // width], dim=1).float()
        return {
            "loss": F.cross_entropy(flat, batch["pixel_index"]),
            "preds": position.masked_fill(is_undefined(flat.detach()).any(1, keepdim=True), torch.nan),
            "target": batch["xy"],
            "logits": logits,
        }

    def image_pair(self, batch: Batch, outputs: Outputs) -> tuple[Tensor, Tensor]:
        """Return the one-hot images and the probability of each pixel."""
        logits = outputs["logits"]
        return batch["onehot"].squeeze(1), logits.flatten(1).softmax(1).view_as(logits)


class CoordinateRegression(CoordinateTask):
    """Predicts the position (x, y) of the single 1 in an image (section 4.2).

    The loss is the mean squared error of (x, y) in units of the canvas, which is square. Metrics: ``distance``
    (Euclidean, in pixels, lower is better) and ``accuracy`` (share of positions within half a pixel in x and y, higher
    is better). Training stops at a mean distance of a hundredth of a pixel.

    Args:
        net: maps images (B, 1, H, W) to positions (B, 2) in units of the canvas, [0, 1).
        optimizer: see :class:`~lightning_coordconv.core.NetworkTask` for this and the following.
        lr_scheduler: builds the learning rate schedule.
        lr_scheduler_interval: ``"epoch"`` or ``"step"``.
        compile: compile the network with ``torch.compile``.
        channels_last: keep its weights in the memory format channels last.
    """

    sample_keys: frozenset[str] = frozenset({"onehot", "xy", "held_out"})
    monitor: str = "val/distance"
    stopping_threshold: ClassVar[float | None] = 0.01
    half_outputs: ClassVar[bool] = False
    half_weights: ClassVar[bool] = False

    def __init__(
        self,
        net: nn.Module,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
        compile: bool = False,
        channels_last: bool = False,
    ) -> None:
        metrics: dict[str, Metric] = {"distance": PixelDistance(), "accuracy": PositionAccuracy(tolerance=0.5)}
        super().__init__(
            net,
            metrics,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_interval=lr_scheduler_interval,
            compile=compile,
            channels_last=channels_last,
        )

    def evaluate(self, batch: Batch) -> Outputs:
        """Return ``loss``, and the predicted and the true positions ``preds`` and ``target`` (B, 2) in pixels."""
        canvas = batch["onehot"].shape[-1]
        predicted = in_full_precision(self.net(batch["onehot"]))
        return {
            "loss": F.mse_loss(predicted, batch["xy"] / canvas),
            "preds": predicted.detach() * canvas,
            "target": batch["xy"],
        }


class CoordinateRendering(CoordinateTask):
    """Predicts the image of a square, given its centre (x, y) (section 4.3).

    The loss is the binary cross-entropy of each pixel. Metric: ``iou`` of the pixels with a probability above one half
    and those of the square, averaged over images (higher is better). Training stops at an IoU of 0.999, about one wrong
    pixel in a dozen squares.

    Args:
        net: maps positions (B, 2) to logits (B, H, W), or to a pair of them: those of the image, and those of the pixel
            at the centre of the square.
        centre_weight: weight of the cross-entropy of the centre, which is added to that of the image; needs a net that
            returns a pair. It is the option ``-interm softmax`` of the authors' code, off by default there too.
        optimizer: see :class:`~lightning_coordconv.core.NetworkTask` for this and the following.
        lr_scheduler: builds the learning rate schedule.
        lr_scheduler_interval: ``"epoch"`` or ``"step"``.
        compile: compile the network with ``torch.compile``.
        channels_last: keep its weights in the memory format channels last.

    Raises:
        ValueError: for a negative ``centre_weight``; in a step, for a positive one with a net that does not return the
            centre, and if the network's output and the canvas of the data differ in size.
    """

    sample_keys: frozenset[str] = frozenset({"xy_scaled", "pixel_index", "image", "xy", "held_out"})
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
        compile: bool = False,
        channels_last: bool = False,
    ) -> None:
        super().__init__(
            net,
            {"iou": PixelIoU()},
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_interval=lr_scheduler_interval,
            compile=compile,
            channels_last=channels_last,
        )
        if not centre_weight >= 0:
            raise ValueError(f"centre_weight must be at least 0, got {centre_weight}")
        self.centre_weight = centre_weight

    def evaluate(self, batch: Batch) -> Outputs:
        """Return ``loss``, and the predicted and the true images ``preds`` and ``target`` (B, H, W) in [0, 1]."""
        rendered = in_full_precision(self.net(batch["xy_scaled"]))
        logits, centre = rendered if isinstance(rendered, tuple) else (rendered, None)
        self.check_canvas(logits, batch["image"])
        target = batch["image"].squeeze(1)
        loss = F.binary_cross_entropy_with_logits(logits, target)
        if self.centre_weight:
            if centre is None:
                raise ValueError(f"centre_weight={self.centre_weight} needs a net that returns the square's centre")
            loss = loss + self.centre_weight * F.cross_entropy(centre.flatten(1), batch["pixel_index"])
        return {"loss": loss, "preds": logits.detach().sigmoid(), "target": target}

    def prediction_columns(self, outputs: Outputs) -> Outputs:
        """Return the columns (B,) ``iou`` and ``correct``, true if every pixel is right."""
        iou = pixel_iou(outputs["preds"], outputs["target"])
        return {"iou": iou, "correct": iou == 1}

    def image_pair(self, batch: Batch, outputs: Outputs) -> tuple[Tensor, Tensor]:
        """Return the images of the square and the probability of each pixel."""
        return outputs["target"], outputs["preds"]


def _size(images: Tensor) -> str:
    height, width = images.shape[-2:]
    return f"{height} x {width}"
