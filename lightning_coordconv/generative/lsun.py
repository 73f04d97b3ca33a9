"""LSUN: millions of photographs of scenes such as bedrooms."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.datasets import LSUN


class LSUNImages(Dataset[dict[str, Any]]):
    """One category of LSUN (Yu et al., 2015), as torchvision reads it; a sample is a dict with ``image``.

    On first use torchvision goes through the whole database, and leaves its list of keys in the working folder,
    ``_cache_*``.

    Args:
        root: holds ``<category>_<split>_lmdb``.
        category: e.g. ``"bedroom"``, which has 3,033,042 images for training and 300 for validation.
        split: ``"train"`` or ``"val"``.
        transform: makes a tensor of a PIL image.

    Raises:
        FileNotFoundError: if the database is not there, with how to get it.
        ModuleNotFoundError: if lmdb is not installed.
        ValueError: if LSUN has no such category.
        OSError: when an image is read that is damaged.
    """

    def __init__(
        self, root: Path, category: str, split: Literal["train", "val"], transform: Callable[[Image.Image], Tensor]
    ) -> None:
        name = f"{category}_{split}"
        folder = root / f"{name}_lmdb"
        if not folder.is_dir():
            raise FileNotFoundError(
                f"there is no folder {folder}: get download.py of github.com/fyu/lsun, run "
                f"`python download.py -c {category} -o {root}` and unzip what it brings there"
            )
        try:
            self.images = LSUN(str(root), [name])
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("LSUN needs lmdb: pip install 'lightning-coordconv[lsun]'") from error
        self.folder = folder
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            image, _ = self.images[index]
        except Exception as error:  # Pillow raises errors of many kinds
            raise OSError(f"image {index} of {self.folder} cannot be read: {error}; get the data again") from error
        return {"image": self.transform(image)}
