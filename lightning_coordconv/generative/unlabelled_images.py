"""Images without labels."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from lightning_coordconv.core.images import read_rgb


class UnlabelledImages(Dataset[dict[str, Any]]):
    """Image files; a sample is a dict with ``image``, what the transform makes of it, and ``path``.

    Args:
        paths: the files.
        transform: makes a tensor of a PIL image.

    Raises:
        OSError: when a file is read that is no image, or a damaged one.
    """

    def __init__(self, paths: Sequence[Path], transform: Callable[[Image.Image], Tensor]) -> None:
        self.paths = paths
        self.transform = transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.paths[index]
        return {"image": self.transform(read_rgb(path)), "path": str(path)}
