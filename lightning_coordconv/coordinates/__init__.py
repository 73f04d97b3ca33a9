"""The paper's coordinate tasks: classification, regression and rendering (Liu et al., 2018, section 4)."""

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
    PixelDistance,
    PixelIoU,
    PositionAccuracy,
    pixel_distance,
    pixel_iou,
)
from lightning_coordconv.coordinates.predictor import CoordinatePredictions, CoordinatePredictor, load
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
    "CoordinatePredictions",
    "CoordinatePredictor",
    "CoordinateRegression",
    "CoordinateRendering",
    "DeconvDecoder",
    "NotSoClevr",
    "NotSoClevrDataModule",
    "PixelDistance",
    "PixelIoU",
    "PoolingRegressor",
    "PositionAccuracy",
    "StridedRegressor",
    "UpsampleDecoder",
    "load",
    "pixel_distance",
    "pixel_iou",
]
