"""The task of semantic segmentation: trains and evaluates a network that predicts a class for each pixel."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from pytorch_lightning import Callback
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from lightning_coordconv.core._lightning import is_attached
from lightning_coordconv.core.arguments import check_at_least, check_names
from lightning_coordconv.core.labels import LabelledTask
from lightning_coordconv.core.protocols import data_module
from lightning_coordconv.core.regions import ImageRegions
from lightning_coordconv.core.task import Batch, Outputs
from lightning_coordconv.core.undefined import is_undefined
from lightning_coordconv.layers import coordinate_frame
from lightning_coordconv.segmentation.data import MaskFolderDataModule
from lightning_coordconv.segmentation.figures import SegmentationFigures
from lightning_coordconv.segmentation.mask_folder import PREPROCESSING
from lightning_coordconv.segmentation.mask_writer import MaskWriter
from lightning_coordconv.segmentation.metrics import UNDEFINED, MeanIoU, PixelAccuracy
from lightning_coordconv.segmentation.tiles import check_strides, check_tile, predict_tiles


class SemanticSegmentation(LabelledTask):
    """Predict a class for each pixel by cross-entropy.

    CoordConv layers of the network see the coordinates of each full image, whether it is cropped, padded or predicted
    by tiles. Logged besides the loss are ``miou`` and ``accuracy`` of pixels, both higher is better, and after
    validation and test ``iou_<class>``.

    Args:
        net: maps images (B, 3, H, W) to logits (B, C, H, W), or to a dict of them with ``out`` and perhaps ``aux``, as
            torchvision's networks do.
        num_classes: C, at least 2; by default the ``num_classes`` of the network.
        ignore_index: value of pixels that do not count.
        aux_weight: weight of the auxiliary head's loss, as in torchvision's reference training.
        class_names: for the names of the logs; by default those of the data, or numbers.
        tile: height and width of the tiles in which ``predict`` goes through larger images, in pixels, a multiple of
            the network's total stride.
        overlap: pixels around a tile that are computed and left out; where half of the network's field of view is no
            larger, tiles agree with the whole image.
        strides: all total strides at which maps of the network see coordinates, if one of them is not a power of two.
        optimizer: see :class:`~lightning_coordconv.core.NetworkTask` for this and the following.
        lr_scheduler: builds the learning rate schedule.
        lr_scheduler_interval: ``"epoch"`` or ``"step"``.
        compile: compile the network with ``torch.compile``.
        channels_last: keep its weights in the memory format channels last.

    Raises:
        ValueError: if the number of classes is not known, or less than 2, names and classes do not agree, or a tile is
            not larger than two overlaps; in a run, if the data or the network have other classes than the task, or
            strides that are no powers of two are not named.
    """

    sample_keys: frozenset[str] = frozenset({"image", "mask", "origin", "size", "path"})
    label_key: ClassVar[str] = "mask"
    monitor: str = "val/miou"
    mode: ClassVar[Literal["min", "max"]] = "max"
    greatest: ClassVar[tuple[str, ...]] = ("iou_",)

    def __init__(
        self,
        net: nn.Module,
        num_classes: int | None = None,
        ignore_index: int = 255,
        aux_weight: float = 0.5,
        class_names: Sequence[str] | None = None,
        tile: int = 1024,
        overlap: int = 128,
        strides: Sequence[float] | None = None,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
        compile: bool = False,
        channels_last: bool = False,
    ) -> None:
        if num_classes is None:
            num_classes = getattr(net, "num_classes", None)
        if num_classes is None:
            raise ValueError(f"num_classes must be given: {type(net).__name__} does not say how many classes it has")
        check_at_least(2, num_classes=num_classes)
        metrics: dict[str, Metric] = {
            "miou": MeanIoU(num_classes, ignore_index),
            "accuracy": PixelAccuracy(ignore_index),
        }
        super().__init__(
            net, metrics, optimizer, lr_scheduler, lr_scheduler_interval, compile=compile, channels_last=channels_last
        )
        if class_names is not None:
            check_names(class_names, num_classes)
        check_tile(tile, overlap)
        self.num_classes = num_classes
        self.ignore_index: int = ignore_index
        self.aux_weight = aux_weight
        self.class_names = [str(n) for n in range(num_classes)] if class_names is None else list(class_names)
        self.tile = tile
        self.overlap = overlap
        self.strides = strides

    def setup(self, stage: str) -> None:
        """Check the strides of the network; compare the classes of the data with the task's, except for predictions.

        Raises:
            ValueError: if the data module has another ``num_classes`` or ``ignore_index``, or strides that are no
                powers of two are not named.
        """
        super().setup(stage)
        check_strides(self.net, self.strides)
        data = data_module(self.trainer)
        for name in ("num_classes", "ignore_index"):
            own, other = getattr(self, name), getattr(data, name, None)
            if stage != "predict" and other not in (None, own):
                raise ValueError(f"the task has {name}={own}, but {type(data).__name__} has {name}={other}")

    def look_at(self, batch: Any) -> None:
        """Note the labels of a batch, unless its data set checked each mask when it read it.

        A second look at eight masks of 512 x 512 pixels would take 12 milliseconds.
        """
        if not (is_attached(self) and type(data_module(self.trainer)) is MaskFolderDataModule):
            super().look_at(batch)

    def figures(self) -> list[Callback]:
        """Return the overlays of validation and test, and the writer of predicted masks."""
        return [SegmentationFigures(), MaskWriter()]

    def evaluate(self, batch: Batch) -> Outputs:
        """Return the ``loss``, the mean over the pixels of a class, and ``preds``, the classes; -1 for NaN.

        ``counts`` has the number of those pixels.
        """
        image, target = batch["image"], batch["mask"].long()  # as torch's cross-entropy needs them
        self.check_labels(batch, self.num_classes)
        crop = tuple(image.shape[-2:])
        with coordinate_frame(batch["origin"], batch["size"], crop=crop, padded=True, strides=self.strides):
            logits = self.net(image)
        heads = logits if isinstance(logits, dict) else {"out": logits}
        if heads["out"].shape[1] != self.num_classes:
            outputs = heads["out"].shape[1]
            raise ValueError(f"the network has {outputs} outputs, but the task has {self.num_classes} classes")
        pixels = (target != self.ignore_index).sum()
        loss = self._loss(heads["out"], target, pixels)
        if "aux" in heads and self.training:
            loss = loss + self.aux_weight * self._loss(heads["aux"], target, pixels)
        undefined = is_undefined(heads["out"].detach()).any(1)
        preds = heads["out"].argmax(1).masked_fill(undefined, UNDEFINED)
        return {"loss": loss, "counts": {"loss": pixels}, "preds": preds, "target": target}

    def predict_step(self, batch: Batch, batch_idx: int) -> list[Tensor]:
        """Return the predicted classes (H, W), uint8, int16 or int32, of each image, without its padding.

        Images that the batch does not hold are read from their files, tile by tile.
        """
        if "image" not in batch:
            return [
                predict_tiles(self.net, ImageRegions(path), self.tile, self.overlap, PREPROCESSING.scale, self.strides)
                for path in batch["path"]
            ]
        found, images = [], batch["image"]
        origins = batch["origin"] if "origin" in batch else [(0, 0)] * len(images)
        for image, origin, size in zip(images, origins, batch["size"], strict=True):
            (top, left), (height, width) = ((int(each[0]), int(each[1])) for each in (origin, size))
            kept = image[:, : height - top, : width - left]
            frame = (top, left), (height, width)
            found.append(predict_tiles(self.net, kept, self.tile, self.overlap, None, self.strides, *frame))
        return found

    def on_validation_epoch_end(self) -> None:
        """Log the intersection over union of each class."""
        self._log_classes("val", self.val_metrics["miou"])

    def on_test_epoch_end(self) -> None:
        """Log the intersection over union of each class."""
        self._log_classes("test", self.test_metrics["miou"])

    def _log_classes(self, stage: str, metric: Any) -> None:
        with metric.sync_context(should_sync=metric.distributed_available_fn()):
            found = metric.per_class()
        for name, value in zip(self._names(), found, strict=True):
            self.log(f"{stage}/iou_{name}", value, sync_dist=True)  # equal on all ranks; Lightning warns without it

    def _names(self) -> list[str]:
        """Return the names of the classes: those given, or else those of the data, or else numbers."""
        names = list(self.describe_data().get("class_names", ()))
        numbered = self.class_names == [str(number) for number in range(len(self.class_names))]
        return names if numbered and len(names) == len(self.class_names) else self.class_names

    def _loss(self, logits: Tensor, target: Tensor, pixels: Tensor) -> Tensor:
        """Return the mean cross-entropy over the pixels of a class, of which the number is given; zero if it is 0."""
        total = F.cross_entropy(logits, target, ignore_index=self.ignore_index, reduction="sum")
        return total / pixels.clamp(min=1)
