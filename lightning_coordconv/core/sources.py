"""Class and functions that turn the input of ``predict`` (files, folders, arrays, tensors) into a list of images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, uint8
from torchvision.datasets.folder import IMG_EXTENSIONS

from lightning_coordconv.core.dropped import report_dropped
from lightning_coordconv.core.image_search import find_files
from lightning_coordconv.core.images import read_rgb, to_rgb
from lightning_coordconv.core.preprocessing import Preprocessing

OneImage: TypeAlias = str | Path | Image.Image | NDArray[np.uint8] | Tensor
Images: TypeAlias = OneImage | Sequence[OneImage]
"""A file, a folder, a Pillow image, an array (H, W, C) of uint8, a tensor (C, H, W), a batch or a list of these."""


@dataclass(frozen=True)
class Source:
    """One image.

    Attributes:
        name: of the file, or what the image is in the list that was given, such as ``image 2``.
        content: where the image is, or the image itself: RGB, or a tensor (1 or 3, H, W) in [0, 1].
    """

    name: str
    content: Path | Image.Image | Tensor

    def read(self) -> Image.Image | Tensor:
        """Return the image; a file is read each time.

        Raises:
            OSError: naming the file, if it is no image or a damaged one.
        """
        return read_rgb(self.content) if isinstance(self.content, Path) else self.content

    def tensor(self) -> Tensor:
        """Return the image as (3, H, W) in [0, 1], float32, on the CPU."""
        return Preprocessing()(self.read()).cpu()


def find_sources(images: Images) -> tuple[list[Source], bool]:
    """Return the images that were given, and whether they are several: a folder, a batch or a list.

    Args:
        images: a path of an image or of a folder, whose images are taken from all its subfolders in the order of their
            names; a Pillow image; an array of uint8, (H, W), (H, W, 1) or (H, W, 3); a tensor of uint8 or of
            floating-point numbers in [0, 1], (1 or 3, H, W); an array or tensor with one dimension more, which is a
            batch; or a sequence of any of these.

    Raises:
        FileNotFoundError: if there is no such file or folder, or a folder has no images.
        ValueError: if there is no image, an array or a tensor has another shape or dtype, or values beyond [0, 1].
        TypeError: if something is none of these.
    """
    if isinstance(images, list | tuple):
        return _listed(images), True
    if isinstance(images, np.ndarray | Tensor) and images.ndim == 4:
        return _listed(list(images)), True
    if isinstance(images, str | Path) and Path(images).expanduser().is_dir():
        return _in_folder(Path(images).expanduser()), True
    return [_source(images, "the image")], False


def _listed(images: Sequence[Any]) -> list[Source]:
    if not images:
        raise ValueError("there is no image: the list is empty")
    found: list[Source] = []
    for number, image in enumerate(images):
        if isinstance(image, str | Path) and Path(image).expanduser().is_dir():
            found += _in_folder(Path(image).expanduser())
        else:
            found.append(_source(image, f"image {number}"))
    return found


def _in_folder(folder: Path) -> list[Source]:
    """Find the images of a folder, and log how many other files it has; hidden files are none of either."""
    files = [path for path in sorted(find_files(folder)) if path.is_file() and not path.name.startswith(".")]
    images = [path for path in files if path.suffix.lower() in IMG_EXTENSIONS]
    others = [str(path.relative_to(folder)) for path in files if path not in set(images)]
    if not files:
        raise FileNotFoundError(f"the folder {folder} is empty: expected images ({', '.join(IMG_EXTENSIONS)})")
    if not images:
        raise FileNotFoundError(
            f"none of the files in {folder} is an image ({', '.join(IMG_EXTENSIONS)}), such as {others[0]}"
        )
    report_dropped(f"files in {folder} that are no images", others)
    return [Source(str(path), path) for path in images]


def _source(image: Any, name: str) -> Source:
    if isinstance(image, str | Path):
        path = Path(image).expanduser()
        if not path.exists():
            raise FileNotFoundError(f"there is no file or folder {path}")
        return Source(str(path), path)
    try:
        if isinstance(image, Image.Image):
            return Source(name, to_rgb(image))
        if isinstance(image, np.ndarray):
            return Source(name, _from_array(image))
        if isinstance(image, Tensor):
            return Source(name, _from_tensor(image))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    raise TypeError(f"{name} is a {type(image).__name__}: expected a path, a Pillow image, an array or a tensor")


def _from_array(array: NDArray[Any]) -> Image.Image:
    right = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3))
    if array.dtype != np.uint8 or not right or not array.size:
        raise ValueError(
            f"expected an array of uint8, (H, W), (H, W, 1) or (H, W, 3), got {array.dtype} {tuple(array.shape)}"
        )
    return Image.fromarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array).convert("RGB")


def _from_tensor(tensor: Tensor) -> Image.Image | Tensor:
    kind = tensor.dtype == uint8 or tensor.is_floating_point()
    if not kind or tensor.ndim != 3 or tensor.shape[0] not in (1, 3) or not tensor.numel():
        raise ValueError(
            "expected a tensor of uint8, or of floating-point numbers in [0, 1], (1, H, W) or (3, H, W), got "
            f"{tensor.dtype} {tuple(tensor.shape)}"
        )
    if tensor.dtype == uint8:
        return _from_array(tensor.permute(1, 2, 0).cpu().numpy())
    low, high = tensor.amin().item(), tensor.amax().item()
    if not (low >= 0 and high <= 1):  # also if NaN
        raise ValueError(f"expected floating-point numbers in [0, 1], got values from {low:g} to {high:g}")
    return tensor.detach().clone()  # the caller may fill it with the next image
