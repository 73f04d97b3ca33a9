"""The shared data layer."""

from lightning_coordconv.datamodules.base import BaseDataModule
from lightning_coordconv.datamodules.coordinates import NotSoClevrDataModule

__all__ = ["BaseDataModule", "NotSoClevrDataModule"]
