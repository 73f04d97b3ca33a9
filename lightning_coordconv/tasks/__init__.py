"""LightningModules: systems around an injected network."""

from lightning_coordconv.tasks.base import BaseTask, NetworkTask
from lightning_coordconv.tasks.classification import ImageClassification
from lightning_coordconv.tasks.coordinates import CoordinateClassification, CoordinateRegression, CoordinateRendering
from lightning_coordconv.tasks.detection import ObjectDetection
from lightning_coordconv.tasks.gan import GANTask
from lightning_coordconv.tasks.proposals import RegionProposal
from lightning_coordconv.tasks.vae import VAETask

__all__ = [
    "BaseTask",
    "CoordinateClassification",
    "CoordinateRegression",
    "CoordinateRendering",
    "GANTask",
    "ImageClassification",
    "NetworkTask",
    "ObjectDetection",
    "RegionProposal",
    "VAETask",
]
