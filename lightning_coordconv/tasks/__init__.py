"""LightningModules: systems around an injected network."""

from lightning_coordconv.tasks.base import BaseTask, NetworkTask
from lightning_coordconv.tasks.classification import ImageClassification
from lightning_coordconv.tasks.coordinates import CoordinateClassification, CoordinateRegression, CoordinateRendering
from lightning_coordconv.tasks.detection import ObjectDetection, RegionProposal

__all__ = [
    "BaseTask",
    "CoordinateClassification",
    "CoordinateRegression",
    "CoordinateRendering",
    "ImageClassification",
    "NetworkTask",
    "ObjectDetection",
    "RegionProposal",
]
