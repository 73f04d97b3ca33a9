"""Public API of GANs and VAEs: tasks, networks, data, metrics, figures, predictor, survey for ``data check``."""

from lightning_coordconv.generative.data import LSUNDataModule, SortOfClevrDataModule, UnlabelledImagesDataModule
from lightning_coordconv.generative.figures.interpolation import Interpolation
from lightning_coordconv.generative.figures.object_positions import ObjectPositionFigures
from lightning_coordconv.generative.figures.samples import GeneratedImages, SampleGrid
from lightning_coordconv.generative.gan import GAN
from lightning_coordconv.generative.lsun import LSUNImages
from lightning_coordconv.generative.metrics.feature_metrics import FrechetDistance, PrecisionRecall
from lightning_coordconv.generative.metrics.features import FrozenFeatures, PooledPixels, RandomFeatures
from lightning_coordconv.generative.metrics.interpolation import interpolation_smoothness
from lightning_coordconv.generative.metrics.object_flaws import ObjectFlaws
from lightning_coordconv.generative.metrics.object_kinds import ObjectKindEntropy
from lightning_coordconv.generative.metrics.object_positions import ObjectPositionDivergence, ObjectPositionEntropy
from lightning_coordconv.generative.metrics.objects import find_flaws, find_objects
from lightning_coordconv.generative.metrics.variation import SampleVariation
from lightning_coordconv.generative.networks import (
    ConvDiscriminator,
    ConvEncoder,
    ConvGenerator,
    CoordConvGenerator,
    SpatialBroadcastDecoder,
)
from lightning_coordconv.generative.predictor import GeneratedSamples, GenerativePredictor, Interpolations, load
from lightning_coordconv.generative.sort_of_clevr import SortOfClevr
from lightning_coordconv.generative.survey import surveys
from lightning_coordconv.generative.task import GenerativeTask
from lightning_coordconv.generative.unlabelled_images import UnlabelledImages
from lightning_coordconv.generative.vae import VAE

__all__ = [
    "GAN",
    "VAE",
    "ConvDiscriminator",
    "ConvEncoder",
    "ConvGenerator",
    "CoordConvGenerator",
    "FrechetDistance",
    "FrozenFeatures",
    "GeneratedImages",
    "GeneratedSamples",
    "GenerativePredictor",
    "GenerativeTask",
    "Interpolation",
    "Interpolations",
    "LSUNDataModule",
    "LSUNImages",
    "ObjectFlaws",
    "ObjectKindEntropy",
    "ObjectPositionDivergence",
    "ObjectPositionEntropy",
    "ObjectPositionFigures",
    "PooledPixels",
    "PrecisionRecall",
    "RandomFeatures",
    "SampleGrid",
    "SampleVariation",
    "SortOfClevr",
    "SortOfClevrDataModule",
    "SpatialBroadcastDecoder",
    "UnlabelledImages",
    "UnlabelledImagesDataModule",
    "find_flaws",
    "find_objects",
    "interpolation_smoothness",
    "load",
    "surveys",
]
