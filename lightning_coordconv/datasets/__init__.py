"""Data sets whose samples are dicts, generated from (split, seed) or read from files."""

from lightning_coordconv.datasets.coco import CocoDetection, ImageFiles
from lightning_coordconv.datasets.digits import mnist_digits
from lightning_coordconv.datasets.field_of_mnist import FieldOfMnist
from lightning_coordconv.datasets.image_folder import LabelledImages
from lightning_coordconv.datasets.not_so_clevr import NotSoClevr
from lightning_coordconv.datasets.placed_digits import PlacedDigits

__all__ = [
    "CocoDetection",
    "FieldOfMnist",
    "ImageFiles",
    "LabelledImages",
    "NotSoClevr",
    "PlacedDigits",
    "mnist_digits",
]
