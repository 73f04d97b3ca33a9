"""Public API of semantic segmentation: task, network, data, metrics, figures, mask writer, tiles, predictor, survey."""

from lightning_coordconv.segmentation.data import MaskFolderDataModule
from lightning_coordconv.segmentation.figures import SegmentationFigures
from lightning_coordconv.segmentation.image_files import ImageFiles
from lightning_coordconv.segmentation.mask_folder import MaskFolder
from lightning_coordconv.segmentation.mask_writer import MaskWriter
from lightning_coordconv.segmentation.metrics import MeanIoU, PixelAccuracy
from lightning_coordconv.segmentation.networks import SegmentationNetwork
from lightning_coordconv.segmentation.predictor import Segmentation, SegmentationPredictor, load
from lightning_coordconv.segmentation.survey import surveys
from lightning_coordconv.segmentation.task import SemanticSegmentation
from lightning_coordconv.segmentation.tiles import predict_tiles

__all__ = [
    "ImageFiles",
    "MaskFolder",
    "MaskFolderDataModule",
    "MaskWriter",
    "MeanIoU",
    "PixelAccuracy",
    "Segmentation",
    "SegmentationFigures",
    "SegmentationNetwork",
    "SegmentationPredictor",
    "SemanticSegmentation",
    "load",
    "predict_tiles",
    "surveys",
]
