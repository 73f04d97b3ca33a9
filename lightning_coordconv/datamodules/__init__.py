"""The shared data layer."""

from lightning_coordconv.datamodules.base import BaseDataModule
from lightning_coordconv.datamodules.classification import ImageFolderDataModule, PlacedDigitsDataModule
from lightning_coordconv.datamodules.coordinates import NotSoClevrDataModule

__all__ = ["BaseDataModule", "ImageFolderDataModule", "NotSoClevrDataModule", "PlacedDigitsDataModule"]
