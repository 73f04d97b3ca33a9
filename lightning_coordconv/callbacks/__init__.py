"""Figures, tables and summaries of runs."""

from lightning_coordconv.callbacks.ceiling import StopAtCeiling
from lightning_coordconv.callbacks.coordinates import CoordinateFigures
from lightning_coordconv.callbacks.defaults import default_callbacks
from lightning_coordconv.callbacks.detection import CocoResults, DetectionFigures
from lightning_coordconv.callbacks.finetuning import FreezeUntil, MovingAverage
from lightning_coordconv.callbacks.finite import StopAtNonFinite
from lightning_coordconv.callbacks.predictions import PredictionTable
from lightning_coordconv.callbacks.preemption import Preemption
from lightning_coordconv.callbacks.randomness import RandomState
from lightning_coordconv.callbacks.run_folder import RunFolder
from lightning_coordconv.callbacks.summary import RunSummary

__all__ = [
    "CocoResults",
    "CoordinateFigures",
    "DetectionFigures",
    "FreezeUntil",
    "MovingAverage",
    "PredictionTable",
    "Preemption",
    "RandomState",
    "RunFolder",
    "RunSummary",
    "StopAtCeiling",
    "StopAtNonFinite",
    "default_callbacks",
]
