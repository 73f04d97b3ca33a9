"""Pure functions, and torchmetrics Metrics over them."""

from lightning_coordconv.metrics.classification import TopKAccuracy, top_k_correct
from lightning_coordconv.metrics.features import FrechetDistance, PrecisionRecall
from lightning_coordconv.metrics.interpolation import path_smoothness
from lightning_coordconv.metrics.object_kinds import ObjectKindEntropy
from lightning_coordconv.metrics.object_positions import ObjectFlaws, ObjectPositionDivergence, ObjectPositionEntropy
from lightning_coordconv.metrics.objects import find_objects, flaws
from lightning_coordconv.metrics.position import (
    PaintedIoU,
    PixelDistance,
    PositionAccuracy,
    painted_iou,
    pixel_distance,
)

__all__ = [
    "FrechetDistance",
    "ObjectFlaws",
    "ObjectKindEntropy",
    "ObjectPositionDivergence",
    "ObjectPositionEntropy",
    "PaintedIoU",
    "PixelDistance",
    "PositionAccuracy",
    "PrecisionRecall",
    "TopKAccuracy",
    "find_objects",
    "flaws",
    "painted_iou",
    "path_smoothness",
    "pixel_distance",
    "top_k_correct",
]
