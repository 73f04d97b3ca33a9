"""Data set of paths and sizes of images without masks, whose pixels predictions read tile by tile."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from lightning_coordconv.core.headers import report_headers
from lightning_coordconv.core.image_search import find_images
from lightning_coordconv.core.images import read_size
from lightning_coordconv.segmentation.mask_files import name_of


class ImageFiles(Dataset[dict[str, Any]]):
    """The images of a folder, whose pixels stay in their files.

    A sample is a dict with ``path`` and ``name``, ``origin`` and ``size``, as those of
    :class:`~lightning_coordconv.segmentation.MaskFolder`, but without ``image`` and ``mask``: only the header of a file
    is read.

    Args:
        images: folder of images, at any depth.
        names: which images to take, as paths relative to ``images``; all by default.

    Raises:
        FileNotFoundError: if the folder has no image.
        ValueError: if two images have the same name up to the ending.
        OSError: when a file is read that is no image.
    """

    def __init__(self, images: Path, names: Sequence[str] | None = None) -> None:
        self.images = find_images(images) if names is None else [images / name for name in names]
        seen: dict[Path, Path] = {}
        for path in self.images:
            seen[name_of(path, images, seen)] = path
        self.names = list(seen)
        report_headers(self.images)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.images[index]
        width, height = read_size(path)
        return {"origin": (0, 0), "size": (height, width), "path": str(path), "name": str(self.names[index])}
