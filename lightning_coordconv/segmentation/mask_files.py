"""Functions that find an image's label mask by name, read masks, refuse invalid ones, and log masks of no image."""

import glob
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from lightning_coordconv.core.dropped import report_dropped
from lightning_coordconv.core.image_search import find_files
from lightning_coordconv.core.images import is_white_zero, open_image
from lightning_coordconv.segmentation.value_colours import check_greys, colours_of_values

LOSSY = ("AVIF", "JPEG", "JPEG2000", "MPO", "WEBP")
UNFIT = {
    **dict.fromkeys(LOSSY, "a lossy format ({}), which changes the values at the borders of classes"),
    "GIF": "a format ({}) in which programs renumber values",
}
"""Formats that change label values, by Pillow's names, and how."""


def read_mask(path: Path, num_classes: int, ignore_index: int) -> Tensor:
    """Read a mask (H, W), int64.

    Args:
        path: an indexed PNG, or a grey image of up to 16 bits.
        num_classes: number of classes.
        ignore_index: value of pixels without a class.

    Raises:
        ValueError: if it is in a format that changes values, or has several channels or frames, a palette of greys that
            are not its values, values that are no class, or no pixel of a class.
        OSError: naming the file, for what :func:`~lightning_coordconv.core.images.read_rgb` refuses in an image file.
    """
    try:
        with open_image(path) as file:
            mode, image_format = file.mode, file.format
            if "jpeg" in str(file.info.get("compression")):  # in a TIFF file
                image_format = "JPEG"
            if is_white_zero(file):
                raise ValueError("its values count from white to black (WhiteIsZero, PBM), so classes may be inverted")
            most = _largest_value(file)
            colours = colours_of_values(file)
            frames = _frames(path, file)
            values = np.array(ImageOps.exif_transpose(file))
    except Exception as error:
        raise OSError(f"{path} cannot be read as a mask: {error}; replace or remove it") from error
    _check_format(path, image_format)
    if frames > 1:
        raise ValueError(f"{path} has {frames} frames; a mask has one, whose values are classes")
    if mode == "1":
        values = values.astype(np.uint8)
    if most is not None:
        values = np.rint(values * (most / (255 if mode == "L" else 65535))).astype(np.uint16)
    if values.ndim != 2 or values.dtype.kind not in "ui":
        raise ValueError(
            f"{path} is an image of mode {mode!r}; a mask is an indexed PNG or a grey image of 8 or 16 bits, whose "
            "values are classes"
        )
    mask = torch.from_numpy(values.astype(np.int64))
    present = mask.unique()
    if mode == "P":
        check_greys(path, colours, present.tolist())
    unknown = present[((present < 0) | (present >= num_classes)) & (present != ignore_index)].tolist()
    if unknown:
        shown = ", ".join(map(str, unknown[:5])) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
        raise ValueError(
            f"{path} has the values {shown}, which are neither classes (0 to {num_classes - 1}) nor "
            f"ignore_index ({ignore_index})"
        )
    if not len(present[present != ignore_index]):
        raise ValueError(f"{path} has no pixel of a class: all are ignore_index ({ignore_index}); remove the pair")
    return mask


def _frames(path: Path, file: Any) -> int:
    """Return the number of frames of a file, such as a stack with one for each class; 1 if the others are overviews."""
    if not getattr(file, "is_animated", False):
        return 1
    with open_image(path) as second:
        second.seek(1)
        return int(file.n_frames) if second.size == file.size else 1


def _largest_value(file: Image.Image) -> int | None:
    """Return the largest value that a grey file can hold, if Pillow stretches values up to it over 8 or 16 bits.

    These are grey files of 2 or 4 bits, and PGM files, which name it. A mask would otherwise have the classes 0 and 85
    in place of 0 and 1, and its last class would be 255, which does not count.
    """
    for tile in getattr(file, "tile", ()):
        arguments = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        if str(arguments[0]).startswith(("L;2", "L;4")):  # "L;2I" if white is 0
            return 2 ** int(arguments[0][2]) - 1
        if tile.codec_name.startswith("ppm") and len(arguments) > 1:  # files of 1 bit name no value
            return int(arguments[1])
    return None


def report_unused_masks(images: Iterable[Path], masks: Path) -> None:
    """Log which files in a folder of masks belong to no image.

    Args:
        images: paths of all images, relative to their folder.
        masks: the folder of masks.
    """
    names = {path.with_suffix("") for path in images}
    files = [path.relative_to(masks) for path in find_files(masks)] if masks.is_dir() else []
    unused = [path for path in files if path.with_suffix("") not in names]
    report_dropped(f"files in {masks} that are no mask of an image", unused)


def name_of(path: Path, images: Path, seen: Mapping[Path, Path]) -> Path:
    """Return the path of an image relative to its folder, without the ending.

    Args:
        path: of the image.
        images: the folder.
        seen: images that were found before, by this name.

    Raises:
        ValueError: if one of them has the same name.
    """
    name = path.relative_to(images).with_suffix("")
    if name in seen:
        raise ValueError(
            f"{seen[name]} and {path} have the same name up to the ending, so they would have the same mask: rename "
            "one of them and its mask"
        )
    return name


def mask_of(path: Path, name: Path, masks: Path) -> Path:
    """Return the mask of an image, which has the same name; that of ``a.1`` is no mask of ``a``."""
    beginning = glob.escape(name.name)
    found = sorted(mask for mask in (masks / name.parent).glob(f"{beginning}.*") if mask.stem == name.name)
    if not found:
        raise FileNotFoundError(f"{path} has no mask: expected {masks / name}.png")
    if len(found) > 1:
        raise ValueError(f"{path} has several masks, {found[0].name} and {found[1].name}: remove all but one")
    _check_format(found[0], Image.registered_extensions().get(found[0].suffix.lower()))
    return found[0]


def _check_format(mask: Path, image_format: str | None) -> None:
    if image_format in UNFIT:
        unfit = UNFIT[image_format].format(image_format)
        raise ValueError(f"{mask} is a mask in {unfit}: make masks again and save them as PNG")
