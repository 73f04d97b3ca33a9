"""Figures, tables and summaries of runs."""

from lightning_coordconv.callbacks.ceiling import StopAtCeiling
from lightning_coordconv.callbacks.coordinates import CoordinateFigures
from lightning_coordconv.callbacks.defaults import default_callbacks
from lightning_coordconv.callbacks.detection import CocoResults, DetectionFigures
from lightning_coordconv.callbacks.finetuning import FreezeUntil, MovingAverage
from lightning_coordconv.callbacks.finite import StopAtNonFinite
from lightning_coordconv.callbacks.interpolation import Interpolation
from lightning_coordconv.callbacks.object_positions import ObjectPositionFigures
from lightning_coordconv.callbacks.predictions import PredictionTable
from lightning_coordconv.callbacks.preemption import Preemption
from lightning_coordconv.callbacks.randomness import RandomState
from lightning_coordconv.callbacks.run_folder import RunFolder
from lightning_coordconv.callbacks.running_statistics import RunningStatistics
from lightning_coordconv.callbacks.samples import GeneratedImages, SampleGrid
from lightning_coordconv.callbacks.summary import RunSummary
from lightning_coordconv.callbacks.training_metrics import TrainingMetrics

__all__ = [
    "CocoResults",
    "CoordinateFigures",
    "DetectionFigures",
    "FreezeUntil",
    "GeneratedImages",
    "Interpolation",
    "MovingAverage",
    "ObjectPositionFigures",
    "PredictionTable",
    "Preemption",
    "RandomState",
    "RunFolder",
    "RunSummary",
    "RunningStatistics",
    "SampleGrid",
    "StopAtCeiling",
    "StopAtNonFinite",
    "TrainingMetrics",
    "default_callbacks",
]
