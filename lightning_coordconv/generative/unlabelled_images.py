"""Data set of image files without labels, to train generators on."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from lightning_coordconv.core.images import read_rgb


class UnlabelledImages(Dataset[dict[str, Any]]):
    """Image files; a sample is a dict with the transformed ``image``, and its ``path``, a string.

    Args:
        paths: the files.
        transform: maps a PIL image to a tensor.

    Raises:
        OSError: when a file is read that is not an image, or is damaged.
    """

    def __init__(self, paths: Sequence[Path], transform: Callable[[Image.Image], Tensor]) -> None:
        self.paths = paths
        self.transform = transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.paths[index]
        return {"image": self.transform(read_rgb(path)), "path": str(path)}
