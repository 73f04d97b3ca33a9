"""Data sets whose samples are dicts, made from (split, seed)."""

from lightning_coordconv.datasets.digits import mnist_digits
from lightning_coordconv.datasets.image_folder import LabelledImages
from lightning_coordconv.datasets.not_so_clevr import NotSoClevr
from lightning_coordconv.datasets.placed_digits import PlacedDigits

__all__ = ["LabelledImages", "NotSoClevr", "PlacedDigits", "mnist_digits"]
