"""The paper's coordinate tasks: classify, regress and render positions (Liu et al., 2018, section 4)."""

from lightning_coordconv.coordinates.data import NotSoClevrDataModule
from lightning_coordconv.coordinates.dataset import NotSoClevr
from lightning_coordconv.coordinates.decoders import (
    CoordConvDecoder,
    CoordConvRenderer,
    DeconvDecoder,
    UpsampleDecoder,
)
from lightning_coordconv.coordinates.figures import CoordinateFigures
from lightning_coordconv.coordinates.metrics import (
    PaintedIoU,
    PixelDistance,
    PositionAccuracy,
    painted_iou,
    pixel_distance,
)
from lightning_coordconv.coordinates.regressors import (
    CoordConvMaxRegressor,
    CoordConvRegressor,
    PoolingRegressor,
    StridedRegressor,
)
from lightning_coordconv.coordinates.task import CoordinateClassification, CoordinateRegression, CoordinateRendering

__all__ = [
    "CoordConvDecoder",
    "CoordConvMaxRegressor",
    "CoordConvRegressor",
    "CoordConvRenderer",
    "CoordinateClassification",
    "CoordinateFigures",
    "CoordinateRegression",
    "CoordinateRendering",
    "DeconvDecoder",
    "NotSoClevr",
    "NotSoClevrDataModule",
    "PaintedIoU",
    "PixelDistance",
    "PoolingRegressor",
    "PositionAccuracy",
    "StridedRegressor",
    "UpsampleDecoder",
    "painted_iou",
    "pixel_distance",
]
