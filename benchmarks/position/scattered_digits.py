"""Data module of scattered digits to detect, in one class or in two classes that depend on the position."""

from typing import Any, Literal

import torch

from lightning_coordconv.core.data import Split
from lightning_coordconv.detection import FieldOfMnist, FieldOfMnistDataModule


class OneOrTwoClasses(FieldOfMnistDataModule):
    """Scattered digits whose class is not the digit.

    Args:
        label: ``"digit"``: all are of class 1; ``"side"``: 1 where the middle of the box is in the left half of the
            image, else 2.
        **options: of :class:`~lightning_coordconv.detection.FieldOfMnistDataModule`.
    """

    def __init__(self, label: Literal["digit", "side"], **options: Any) -> None:
        self.label = label
        names = {"digit": ("digit",), "side": ("left", "right")}[label]
        self.categories = {number: (number, name) for number, name in enumerate(names, start=1)}
        super().__init__(**options)

    def make_dataset(self, split: Split) -> FieldOfMnist:
        """Scatter the digits of a split, and replace their labels."""
        data = super().make_dataset(split)
        if self.label == "digit":
            data.labels = [torch.ones_like(labels) for labels in data.labels]
        else:
            data.labels = [1 + (boxes[:, [0, 2]].mean(1) >= self.crop / 2).long() for boxes in data.boxes]
        return data
