"""Data set of labelled images in one folder per class, and the function that lists its class names."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.datasets.folder import IMG_EXTENSIONS

from lightning_coordconv.core.arguments import check_printable
from lightning_coordconv.core.counts import listed
from lightning_coordconv.core.dropped import report_dropped
from lightning_coordconv.core.headers import report_headers
from lightning_coordconv.core.image_search import find_files
from lightning_coordconv.core.images import read_rgb


class LabelledImages(Dataset[dict[str, Any]]):
    """The images of a folder that holds one folder per class.

    Files are found, and classes numbered, as by torchvision's ``ImageFolder``. Files that have another suffix than an
    image, or are hidden, are left out; their number and names are logged, and those of images of which not all is read,
    such as an alpha channel.

    A sample is a dict with

    ========  =======  =========  =======================================================================
    key       type     shape      content
    ========  =======  =========  =======================================================================
    image     float32  (3, H, W)  what the transform makes of the RGB image
    label     int      ()         the class: the position of its folder among the sorted names, from 0
    path      str                 the file
    ========  =======  =========  =======================================================================

    Args:
        folder: holds ``<class>/**/<image>``, in any format of torchvision's ``IMG_EXTENSIONS``.
        transform: makes a tensor of a PIL image.

    Raises:
        FileNotFoundError: if the folder does not exist, has no class folder, or a class has no image.
        ValueError: if a link leads back to a folder that holds it.
        OSError: when a sample is read from a file that is damaged or no image.
    """

    def __init__(self, folder: Path, transform: Callable[[Image.Image], Tensor]) -> None:
        self.classes = class_names(folder)
        self.samples: list[tuple[str, int]] = []
        others = [entry.name for entry in sorted(folder.iterdir()) if entry.is_file()]
        empty = []
        for label, name in enumerate(self.classes):
            files = [str(path) for path in find_files(folder / name)]
            images = [path for path in files if _is_image(path)]
            self.samples += [(path, label) for path in images]
            others += [os.path.relpath(path, folder) for path in files if not _is_image(path)]
            empty += [] if images else [name]
        if empty:
            raise FileNotFoundError(
                listed(f"{folder} has classes without an image in {', '.join(IMG_EXTENSIONS)}", empty)
            )
        report_dropped(f"files in {folder} that are no images of a class", others)
        report_headers(self.sample_files)
        self.transform = transform

    @property
    def sample_files(self) -> list[Path]:
        """The file of each sample."""
        return [Path(path) for path, _ in self.samples]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path, label = self.samples[index]
        return {"image": self.transform(read_rgb(path)), "label": label, "path": path}


def class_names(folder: Path) -> list[str]:
    """Return the sorted names of the class folders; folders whose name begins with a dot are none.

    Raises:
        FileNotFoundError: if the folder does not exist, or has no class folder.
        ValueError: for a name with a control character.
    """
    layout = f"expected {folder}/<class>/<image>, with images in {', '.join(IMG_EXTENSIONS)}"
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}: {layout}")
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise FileNotFoundError(f"{folder} has no folder per class: {layout}")
    check_printable(folder, names)
    return names


def _is_image(path: str) -> bool:
    return path.lower().endswith(IMG_EXTENSIONS) and not os.path.basename(path).startswith(".")
