"""Data set of images below a folder, without boxes, and functions that check its options and find unreadable files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch.utils.data import Dataset
from torchvision.transforms.v2.functional import pil_to_tensor, to_dtype

from lightning_coordconv.core.headers import read_headers
from lightning_coordconv.core.image_search import find_images
from lightning_coordconv.core.images import read_rgb

Policy = Literal["error", "drop"]
Links = Literal["inside", "anywhere"]


class ImageFiles(Dataset[dict[str, Any]]):
    """Images below a folder, in the order of their names.

    A sample is a dict with ``image`` (3, H, W), float32 in [0, 1], ``image_id``, its number from 1, its ``path``, and
    ``file_name``, its path from the folder.

    Args:
        folder: holds images in any format of torchvision's ``IMG_EXTENSIONS``.
        paths: of those to take, which begin with ``folder``; all by default.
        bad_images: see :class:`CocoDetection` for this and the following.
        links: whether a symbolic link may lead out of the folder.

    Attributes:
        unreadable: why each image that was dropped cannot be read.

    Raises:
        FileNotFoundError: if there are no images.
        OSError: when a file is read that is no image, or a damaged one, and if no other is left.
    """

    def __init__(
        self, folder: Path, paths: Sequence[Path] | None = None, bad_images: Policy = "error", links: Links = "inside"
    ) -> None:
        check_policies(bad_images=bad_images)
        self.folder = folder
        self.paths = find_images(folder) if paths is None else list(paths)
        self.root = root_of(folder, links)
        self.unreadable: list[str] = []
        if bad_images == "drop":
            reasons = why_unreadable(self.paths, self.root, folder)
            self.unreadable = [reason for reason in reasons if reason]
            self.paths = [path for path, reason in zip(self.paths, reasons, strict=True) if not reason]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.paths[index]
        image = to_dtype(pil_to_tensor(read_rgb(path, self.root)), torch.float32, scale=True)
        name = path.relative_to(self.folder).as_posix()
        return {"image": image, "image_id": index + 1, "file_name": name, "path": str(path)}

    def remarks(self) -> list[str]:
        """Return a line on each image that is left out, and on each kind of content that is not read."""
        left_out = [f"left out an image: {reason}" for reason in self.unreadable]
        return left_out + read_headers(self.paths, self.root).remarks


def check_policies(**policies: str) -> None:
    """Check that options are a :data:`Policy`.

    Raises:
        ValueError: naming the option, if it is none.
    """
    for name, policy in policies.items():
        if policy not in get_args(Policy):
            raise ValueError(f"{name} must be one of {', '.join(get_args(Policy))}, got {policy!r}")


def root_of(folder: Path, links: Links) -> Path | None:
    """Return the folder that images must not leave, ``None`` if they may be anywhere.

    Raises:
        ValueError: if ``links`` is not one of :data:`Links`.
    """
    if links not in ("inside", "anywhere"):
        raise ValueError(f"links must be 'inside' or 'anywhere', got {links!r}")
    return folder if links == "inside" else None


def why_unreadable(paths: Sequence[Path], root: Path | None, source: Path) -> list[str]:
    """Return why each image cannot be read, or an empty text if it can.

    Raises:
        OSError: if none can.
    """
    reasons = []
    for path in paths:
        try:
            read_rgb(path, root)
            reasons.append("")
        except OSError as error:
            reasons.append(str(error))
    if all(reasons):
        raise OSError(f"none of the {len(paths)} images of {source} can be read; the first: {reasons[0]}")
    return reasons
