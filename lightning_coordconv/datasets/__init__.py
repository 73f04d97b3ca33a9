"""Data sets whose samples are dicts, generated from (split, seed) or read from files."""

from lightning_coordconv.datasets.coco import CocoDetection, ImageFiles
from lightning_coordconv.datasets.digits import mnist_digits
from lightning_coordconv.datasets.field_of_mnist import FieldOfMnist
from lightning_coordconv.datasets.image_folder import LabelledImages
from lightning_coordconv.datasets.lsun import LSUNPictures
from lightning_coordconv.datasets.not_so_clevr import NotSoClevr
from lightning_coordconv.datasets.pictures import Pictures
from lightning_coordconv.datasets.placed_digits import PlacedDigits
from lightning_coordconv.datasets.sort_of_clevr import SortOfClevr

__all__ = [
    "CocoDetection",
    "FieldOfMnist",
    "ImageFiles",
    "LSUNPictures",
    "LabelledImages",
    "NotSoClevr",
    "Pictures",
    "PlacedDigits",
    "SortOfClevr",
    "mnist_digits",
]
