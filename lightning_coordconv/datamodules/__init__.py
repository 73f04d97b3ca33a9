"""The shared data layer."""

from lightning_coordconv.datamodules.base import BaseDataModule
from lightning_coordconv.datamodules.classification import ImageFolderDataModule, PlacedDigitsDataModule
from lightning_coordconv.datamodules.coordinates import NotSoClevrDataModule
from lightning_coordconv.datamodules.detection import CocoDetectionDataModule, FieldOfMnistDataModule
from lightning_coordconv.datamodules.gan import LSUNDataModule, PicturesDataModule, SortOfClevrDataModule

__all__ = [
    "BaseDataModule",
    "CocoDetectionDataModule",
    "FieldOfMnistDataModule",
    "ImageFolderDataModule",
    "LSUNDataModule",
    "NotSoClevrDataModule",
    "PicturesDataModule",
    "PlacedDigitsDataModule",
    "SortOfClevrDataModule",
]
