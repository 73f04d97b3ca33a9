"""Pure functions, and torchmetrics Metrics over them."""

from lightning_coordconv.metrics.classification import TopKAccuracy, top_k_correct
from lightning_coordconv.metrics.position import (
    PaintedIoU,
    PixelDistance,
    PositionAccuracy,
    painted_iou,
    pixel_distance,
)

__all__ = [
    "PaintedIoU",
    "PixelDistance",
    "PositionAccuracy",
    "TopKAccuracy",
    "painted_iou",
    "pixel_distance",
    "top_k_correct",
]
