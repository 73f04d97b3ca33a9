"""Public API of the paper's coordinate tasks and of finding one point: tasks, networks, data, metrics, predictors."""

from lightning_coordconv.coordinates.data import NotSoClevrDataModule
from lightning_coordconv.coordinates.dataset import NotSoClevr
from lightning_coordconv.coordinates.decoders import (
    CoordConvDecoder,
    CoordConvRenderer,
    DeconvDecoder,
    UpsampleDecoder,
)
from lightning_coordconv.coordinates.figures import CoordinateFigures
from lightning_coordconv.coordinates.loading import load
from lightning_coordconv.coordinates.metrics import (
    PixelDistance,
    PixelIoU,
    PositionAccuracy,
    pixel_distance,
    pixel_iou,
)
from lightning_coordconv.coordinates.point_data import PointsDataModule
from lightning_coordconv.coordinates.point_predictor import PointPrediction, PointPredictor
from lightning_coordconv.coordinates.point_task import PointRegression
from lightning_coordconv.coordinates.points import PointImages
from lightning_coordconv.coordinates.points_file import read_points
from lightning_coordconv.coordinates.predictor import CoordinatePredictions, CoordinatePredictor
from lightning_coordconv.coordinates.regressors import (
    CoordConvMaxRegressor,
    CoordConvRegressor,
    PoolingRegressor,
    StridedRegressor,
)
from lightning_coordconv.coordinates.survey import surveys
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
    "PointImages",
    "PointPrediction",
    "PointPredictor",
    "PointRegression",
    "PointsDataModule",
    "PoolingRegressor",
    "PositionAccuracy",
    "StridedRegressor",
    "UpsampleDecoder",
    "load",
    "pixel_distance",
    "pixel_iou",
    "read_points",
    "surveys",
]
