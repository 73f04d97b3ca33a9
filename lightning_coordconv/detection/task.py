"""The task of object detection: trains and evaluates torchvision's detectors of boxes, masks and keypoints."""

import math
from contextlib import suppress
from typing import Any, ClassVar, Literal

import torch
from pytorch_lightning import Callback
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection, SumMetric

from lightning_coordconv.core.labels import LabelledTask
from lightning_coordconv.core.metrics import MeanTerms
from lightning_coordconv.core.protocols import data_module
from lightning_coordconv.core.schedules import warmup_cosine
from lightning_coordconv.core.task import Batch, Outputs
from lightning_coordconv.core.task_precision import MIXED
from lightning_coordconv.core.undefined import undefined_outputs
from lightning_coordconv.detection.average_precision import (
    PERSON_SIGMAS,
    CocoAveragePrecision,
    KeypointAveragePrecision,
    require_pycocotools,
)
from lightning_coordconv.detection.figures import DetectionFigures
from lightning_coordconv.detection.image_frames import KINDS
from lightning_coordconv.detection.precision_recall import PrecisionRecallFigure

Detections = list[dict[str, Tensor]]
MASK_THRESHOLD = 0.5
"""Probability from which a pixel belongs to a mask, as torchvision has it."""


class ObjectDetection(LabelledTask):
    """Detect and classify objects with a torchvision detector.

    The sum of the detector's losses is minimised. The losses are logged by their names, in training only. Metrics are
    COCO's, as torchmetrics' ``MeanAveragePrecision`` names them: ``map`` (over the IoU thresholds 0.5 to 0.95; higher
    is better, also for the others), ``map_50``, ``map_75``, ``map_small``, ``map_medium``, ``map_large``, ``mar_1``,
    ``mar_10``, ``mar_100`` and so on; NaN where there is no object of that size, and all of them where
    a part of the network returns NaN or infinity, whose boxes torchvision drops. Those of masks begin with ``segm_``,
    and those of keypoints are of :class:`~lightning_coordconv.detection.KeypointAveragePrecision`.

    Args:
        net: in training maps lists of images (C, H, W) and of targets to losses by name; in evaluation a list of images
            to a dict of ``boxes``, ``labels`` and ``scores`` for each. Its ``targets``, if it has any, say what it
            needs beside boxes and labels, and what it finds: ``"masks"`` or ``"keypoints"``, in the shapes of
            :class:`~lightning_coordconv.detection.Detector`; for keypoints it has their number ``num_keypoints``.
        coordinate_lr: learning rate of coordinate weights, as a multiple of that of all others. They have no weight
            decay; all others do.
        warmup: share of the run's steps in which learning rates rise linearly to the optimiser's; after it they fall
            along a cosine to zero. The trainer counts the steps. ``None`` leaves the schedule to ``lr_scheduler``.
        optimizer: see :class:`~lightning_coordconv.core.NetworkTask` for this and the following.
        lr_scheduler: builds the learning rate schedule.
        lr_scheduler_interval: ``"epoch"`` or ``"step"``.
        compile: compile the network with ``torch.compile``.
        channels_last: keep its weights in the memory format channels last.
        keypoint_sigmas: of each keypoint, see :class:`~lightning_coordconv.detection.KeypointAveragePrecision`; by
            default COCO's of the 17 keypoints of a person.

    Raises:
        ValueError: for a negative ``coordinate_lr``, a ``warmup`` of 1 or more, beside ``lr_scheduler`` or in a run
            without an end, for a category for which the net has no output, for data without its targets or with
            another number of keypoints, and for keypoints without a sigma.
    """

    sample_keys: frozenset[str] = frozenset({"image", "boxes", "labels", "image_id"})
    label_key: ClassVar[str] = "labels"
    monitor: str = "val/map"
    mode: ClassVar[Literal["min", "max"]] = "max"
    greatest: ClassVar[tuple[str, ...]] = ("map", "mar", "segm_map", "segm_mar", "keypoints_map", "keypoints_mar")
    half_weights: ClassVar[bool] = False  # Lightning rounds true boxes too then, by up to 2 of 800 pixels

    def __init__(
        self,
        net: nn.Module,
        coordinate_lr: float = 1.0,
        warmup: float | None = None,
        optimizer: OptimizerCallable = torch.optim.SGD,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
        compile: bool = False,
        channels_last: bool = False,
        keypoint_sigmas: list[float] | None = None,
    ) -> None:
        targets: frozenset[str] = frozenset(getattr(net, "targets", ()))
        sigmas = PERSON_SIGMAS if keypoint_sigmas is None else keypoint_sigmas
        if "keypoints" in targets and len(sigmas) != net.num_keypoints:
            raise ValueError(
                f"the network has {net.num_keypoints} keypoints, but there are {len(sigmas)} sigmas: set "
                "keypoint_sigmas, one for each keypoint"
            )
        metrics: dict[str, Metric] = {}
        with suppress(ModuleNotFoundError):  # predictions need no metrics; setup refuses everything else
            metrics["coco"] = CocoAveragePrecision("masks" in targets)
            if "keypoints" in targets:
                metrics["keypoints"] = KeypointAveragePrecision(sigmas)
        super().__init__(net, metrics, optimizer, lr_scheduler, lr_scheduler_interval, {}, compile, channels_last)
        if coordinate_lr < 0:
            raise ValueError(f"coordinate_lr must not be negative, got {coordinate_lr}")
        if warmup is not None and not 0 <= warmup < 1:
            raise ValueError(f"warmup must be from 0 to less than 1, got {warmup}")
        if warmup is not None and lr_scheduler is not None:
            raise ValueError(f"warmup={warmup} and lr_scheduler exclude each other: leave out one of them")
        self.net_targets = targets
        self.sample_keys = self.sample_keys | targets
        self.coordinate_lr = coordinate_lr
        self.warmup = warmup
        self.train_terms = MeanTerms()
        self.train_losses: tuple[str, ...] = ()
        self.undefined = SumMetric(nan_strategy="disable")

    def figures(self) -> list[Callback]:
        """Return the figures of detections beside true boxes, and of precision and recall in the test."""
        return [DetectionFigures(), PrecisionRecallFigure()]

    def setup(self, stage: str) -> None:
        """Compare the categories and keypoints of the data with the outputs of the net, except for predictions.

        Raises:
            ModuleNotFoundError: if pycocotools is not installed, which all but predictions need.
            ValueError: if the data module has a category for which the net has no output, another number of keypoints,
                or targets that the net does not learn.
        """
        if stage != "predict":
            require_pycocotools()
        super().setup(stage)
        data = data_module(self.trainer)
        keypoints = len(data.skeleton.names) if hasattr(data, "skeleton") else 0  # 0 if it has none, or does not say
        if "keypoints" in self.net_targets and keypoints not in (0, self.net.num_keypoints):
            raise ValueError(
                f"the network has {self.net.num_keypoints} keypoints, but the data has {keypoints}: set its "
                f"options.num_keypoints to {keypoints}"
            )
        unused = set(getattr(data, "targets", ())) - self.net_targets
        if stage != "predict" and unused:
            raise ValueError(
                f"the data has the targets {', '.join(sorted(unused))}, which the network does not learn: set "
                "data.targets to [], or choose a network with them, such as maskrcnn_resnet50_fpn_v2"
            )
        outputs = getattr(self.net, "num_classes", None)
        highest = max(getattr(data, "categories", ()), default=0)
        if stage != "predict" and outputs is not None and highest >= outputs:
            raise ValueError(
                f"the network has outputs for {outputs} classes, with the background, but the data has {highest} "
                f"categories: set its num_classes to at least {highest + 1}"
            )

    def check_precision(self, precision: object) -> None:
        """Refuse half precision for detectors that would compute boxes in it.

        Raises:
            ValueError: see :class:`~lightning_coordconv.core.BaseTask`; and with mixed precision, if the network has a
                detector of torchvision without image frames, which computes places beyond 512 pixels in steps of 4.
        """
        super().check_precision(precision)
        detectors = (module for module in self.net.modules() if isinstance(module, KINDS))
        rounding = next((module for module in detectors if not hasattr(module, "image_frames")), None)
        if precision in MIXED and rounding is not None:
            raise ValueError(
                f"{type(rounding).__name__} computes boxes in the half precision of trainer.precision {precision!r}: "
                "call use_image_frames(detector, mask_padding=False) when you build it, or use 32-true"
            )

    def training_step(self, batch: Batch, batch_idx: int) -> Outputs:
        """Return the sum of the net's losses.

        Raises:
            ValueError: if they have other names than in the batch before.
        """
        targets = self.targets(batch)
        losses: dict[str, Tensor] = self.net(list(batch["image"]), targets)
        names = tuple(sorted(losses))
        if self.train_losses not in ((), names):
            raise ValueError(
                f"{type(self.net).__name__} returned the losses {', '.join(names)}, and in the batch before "
                f"{', '.join(self.train_losses)}: return the same names in each batch, 0 for a loss of nothing"
            )
        terms = torch.stack([losses[name] for name in names])
        loss = terms.sum()
        self.train_losses = names
        self.train_terms.update(terms, len(targets))
        # A call costs a hundredth of a small detector's step.
        if batch_idx % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self.log("train/loss", loss.detach(), prog_bar=True, logger=False)
        return {"loss": loss * self.share(len(targets))}

    def on_train_epoch_end(self) -> None:
        """Log the means of the losses, and of their sum, over the epoch."""
        if self.train_losses:
            means = torch.atleast_1d(self.train_terms.compute())  # torchmetrics returns one number as a scalar
            named = {f"train/{name}": mean for name, mean in zip(self.train_losses, means, strict=True)}
            self.log_dict({"train/loss": means.sum(), **named}, sync_dist=True)
        self.train_terms.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> Outputs:
        """Update the validation metrics, and return what was detected."""
        return self._detect(batch, self.val_metrics)

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics."""
        self._report(self.val_metrics)

    def test_step(self, batch: Batch, batch_idx: int) -> Outputs:
        """Update the test metrics, and return what was detected."""
        return self._detect(batch, self.test_metrics)

    def on_test_epoch_end(self) -> None:
        """Log the test metrics."""
        self._report(self.test_metrics)

    def predict_step(self, batch: Batch, batch_idx: int) -> Detections:
        """Return what is detected on each image: ``boxes`` (n, 4), ``labels`` (n,) and ``scores`` (n,).

        Masks are (n, H, W), bool; keypoints are as the network returns them.
        """
        detections: Detections = self.net(list(batch["image"]))
        for found in detections:
            if "masks" in found:
                found["masks"] = found["masks"][:, 0] >= MASK_THRESHOLD
        return detections

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the coordinate weights, if there are any, and all others."""
        parameters = {name: weight for name, weight in self.named_parameters() if weight.requires_grad}
        coordinates = [weight for name, weight in parameters.items() if name.endswith("coord_weight")]
        others = [weight for name, weight in parameters.items() if not name.endswith("coord_weight")]
        groups: list[dict[str, Any]] = [{"params": others}] if others else []
        if coordinates:
            groups.append({"params": coordinates, "weight_decay": 0.0, "lr_scale": self.coordinate_lr})
        return groups

    def configure_optimizers(self) -> Any:
        """Build the optimiser, and the schedule over all steps of the run if there is a ``warmup``."""
        configured = super().configure_optimizers()
        if self.warmup is None:
            return configured
        steps = self.trainer.estimated_stepping_batches
        if math.isinf(steps):
            raise ValueError("warmup needs a run with an end: set trainer.max_epochs or trainer.max_steps")
        schedule = warmup_cosine(configured, int(steps), int(self.warmup * steps))
        return {"optimizer": configured, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def targets(self, batch: Batch) -> list[dict[str, Tensor]]:
        """Return the true boxes, labels and targets of each image, as torchvision and torchmetrics expect them.

        Raises:
            ValueError: if the batch has not what the net needs, or a label without an output; the image is named.
        """
        outputs = getattr(self.net, "num_classes", None)
        if outputs is not None:
            self.check_labels(batch, outputs, first=1)
        missing = self.net_targets - batch.keys()
        if missing:
            raise ValueError(
                f"the network needs {', '.join(sorted(missing))} of each object, but the samples have "
                f"{', '.join(sorted(batch))}: use data with them, such as CocoDetectionDataModule(targets=...)"
            )
        keys = [key for key in ("boxes", "labels", "area", "iscrowd", *sorted(self.net_targets)) if key in batch]
        return [dict(zip(keys, values, strict=True)) for values in zip(*(batch[key] for key in keys), strict=True)]

    def _detect(self, batch: Batch, metrics: MetricCollection) -> Outputs:
        targets = self.targets(batch)
        with undefined_outputs(self) as undefined:
            detections = self.predict_step(batch, 0)
        metrics.update(detections, targets)
        self.undefined.update(sum(undefined, torch.zeros((), device=self.device)))
        return {"preds": detections}

    def _report(self, metrics: MetricCollection) -> None:
        # The metric returns a dict, which Lightning can't log as a metric, of the images of all ranks.
        values = metrics.compute()
        undefined = bool(self.undefined.compute())
        wanted = {
            name: value.masked_fill((value < 0) | undefined, torch.nan)  # -1 is the metric of no object
            for name, value in values.items()
            if not name.endswith(("per_class", "classes"))
        }
        for name, value in wanted.items():
            self.log(name, value, prog_bar=name == self.monitor, sync_dist=True)
        metrics.reset()
        self.undefined.reset()
