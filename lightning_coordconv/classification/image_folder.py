"""Images in one folder per class."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS

from lightning_coordconv.core.images import read_rgb


class LabelledImages(Dataset[dict[str, Any]]):
    """The images of a folder that holds one folder per class, as torchvision's ``ImageFolder`` reads them.

    A sample is a dict with

    ========  =======  =========  =======================================================================
    key       type     shape      what
    ========  =======  =========  =======================================================================
    image     float32  (3, H, W)  what the transform makes of the RGB image
    label     int      ()         the class: the rank of its folder among the sorted names
    path      str                 the file
    ========  =======  =========  =======================================================================

    Args:
        folder: holds ``<class>/**/<image>``, in any format of torchvision's ``IMG_EXTENSIONS``.
        transform: makes a tensor of a PIL image.

    Raises:
        FileNotFoundError: if the folder does not exist, has no class folder, or a class has no image.
        OSError: when a file is read that is no image, or a damaged one.
    """

    def __init__(self, folder: Path, transform: Callable[[Image.Image], Tensor]) -> None:
        class_names(folder)
        images = ImageFolder(str(folder))
        self.classes: list[str] = images.classes
        self.samples: list[tuple[str, int]] = images.samples
        self.transform = transform

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path, label = self.samples[index]
        return {"image": self.transform(read_rgb(path)), "label": label, "path": path}


def class_names(folder: Path) -> list[str]:
    """Return the sorted names of the class folders.

    Raises:
        FileNotFoundError: if the folder does not exist, or has no class folder.
    """
    layout = f"expected {folder}/<class>/<image>, with images in {', '.join(IMG_EXTENSIONS)}"
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}: {layout}")
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    if not names:
        raise FileNotFoundError(f"{folder} has no folder per class: {layout}")
    return names
