"""Public API of image classification: task, networks, data, metrics, figures, predictor, survey for ``data check``."""

from lightning_coordconv.classification.data import ImageFolderDataModule, PlacedDigitsDataModule
from lightning_coordconv.classification.figures import ConfusionFigure
from lightning_coordconv.classification.image_folder import LabelledImages
from lightning_coordconv.classification.metrics import TopKAccuracy, top_k_correct
from lightning_coordconv.classification.networks import PooledClassifier, ResNetClassifier
from lightning_coordconv.classification.placed_digits import PlacedDigits
from lightning_coordconv.classification.predictor import Classification, ClassificationPredictor, load
from lightning_coordconv.classification.survey import surveys
from lightning_coordconv.classification.task import ImageClassification

__all__ = [
    "Classification",
    "ClassificationPredictor",
    "ConfusionFigure",
    "ImageClassification",
    "ImageFolderDataModule",
    "LabelledImages",
    "PlacedDigits",
    "PlacedDigitsDataModule",
    "PooledClassifier",
    "ResNetClassifier",
    "TopKAccuracy",
    "load",
    "surveys",
    "top_k_correct",
]
