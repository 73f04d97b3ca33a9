"""Data set of images and label masks in two folders, and functions that read, pad and check masks."""

import glob
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor
from torch.utils.data import Dataset

from lightning_coordconv.core.dropped import report_dropped
from lightning_coordconv.core.images import find_files, find_images, is_turned, open_image, read_rgb
from lightning_coordconv.core.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from lightning_coordconv.core.survey import NAMED, Refuse, raise_refused, spread
from lightning_coordconv.segmentation.transforms import ImageAndMask

PREPROCESSING = Preprocessing(mean=IMAGENET_MEAN, std=IMAGENET_STD)
LOSSY = {"AVIF", "JPEG", "JPEG2000", "MPO", "WEBP"}
"""Formats that change label values at the borders of classes, by Pillow's names."""
LOOKED_AT = 16
"""Number of masks that are looked at for their classes before a run."""


class MaskFolder(Dataset[dict[str, Any]]):
    """The images of a folder, with the masks of another that have the same names up to the ending.

    A mask gives the class of each pixel: an indexed ("palette") PNG, or a grey image of 8 or 16 bits. Images and masks
    are turned as the EXIF orientation of each says; a mask without one is taken to be of the turned image.

    A sample is a dict with

    ========  =======  =========  =======================================================================
    key       type     shape      what
    ========  =======  =========  =======================================================================
    image     float32  (3, H, W)  the image, normalised by ImageNet's mean and standard deviation
    mask      int64    (H, W)     the class of each pixel, 0 to ``num_classes - 1``, or ``ignore_index``
    origin    tuple    2          row and column of the first pixel of a crop in the full image
    size      tuple    2          height and width of the full image, after the transforms
    path      str                 the file of the image
    name      str                 the path relative to ``images``, without the ending
    ========  =======  =========  =======================================================================

    Args:
        images: folder of images, in any format of torchvision's ``IMG_EXTENSIONS``, at any depth.
        masks: folder of masks, with the same structure.
        num_classes: number of classes; a mask with another value than 0 to ``num_classes - 1`` is refused.
        ignore_index: value of pixels without a class.
        crop: height and width of a random crop; images smaller than that are padded at the bottom and right. ``None``
            for whole images.
        transforms: v2 transforms of image and mask, before the crop; see
            :class:`~lightning_coordconv.segmentation.transforms.ImageAndMask`.
        names: which images to take, as paths relative to ``images``; all by default.
        refuse: receives each image that has no mask that can be used; by default its error is raised.

    Raises:
        FileNotFoundError: if a folder is missing or has no image, or an image has no mask.
        ValueError: if two images, or two masks, have the same name up to the ending, or a mask is in a lossy format by
            its ending; when it is read, if it is in such a format, its size is not that of its image, it has other
            values than classes, or not a single pixel of a class, or if the transforms return something else than an
            image and its mask.
        OSError: when a file is read that is no image, or a damaged one.
    """

    def __init__(
        self,
        images: Path,
        masks: Path,
        num_classes: int,
        ignore_index: int = 255,
        crop: tuple[int, int] | None = None,
        transforms: Iterable[Callable[[Any], Any]] = (),
        names: Sequence[str] | None = None,
        refuse: Refuse = raise_refused,
    ) -> None:
        for folder in (images, masks):
            if not folder.is_dir():
                raise FileNotFoundError(f"there is no folder {folder}: expected images and masks of the same names")
        found = find_images(images) if names is None else [images / name for name in names]
        self.images: list[Path] = []
        self.masks: list[Path] = []
        self.names: list[Path] = []
        seen: dict[Path, Path] = {}
        for path in found:
            try:
                name = name_of(path, images, seen)
                mask = _mask_of(path, name, masks)
            except (FileNotFoundError, ValueError) as error:
                refuse("images without a mask that can be used", error)
                continue
            seen[name] = path
            self.images.append(path)
            self.masks.append(mask)
            self.names.append(name)
        if names is None:
            report_unused_masks([path.relative_to(images) for path in found], masks)
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.crop = crop
        self.transform = ImageAndMask(transforms, ignore_index)
        self._report_single_class()
        self._report_turned()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.images[index]
        picture = read_rgb(path)
        mask = read_mask(self.masks[index], self.num_classes, self.ignore_index)
        if tuple(mask.shape) != (picture.height, picture.width):
            size = (picture.height, picture.width)
            raise ValueError(f"{self.masks[index]} has size {tuple(mask.shape)}, but its image {path} has size {size}")
        values, mask = self.transform(picture, mask)
        image = PREPROCESSING.normalise(values)
        size, origin = (int(mask.shape[0]), int(mask.shape[1])), (0, 0)
        if self.crop is not None:
            image, mask, origin = self._random_crop(image, mask)
        return {
            "image": image,
            "mask": mask,
            "origin": origin,
            "size": size,
            "path": str(path),
            "name": str(self.names[index]),
        }

    def _report_single_class(self) -> None:
        """Log if some masks have only one class: empty ones, or those of 0 and 255 that mean two classes."""
        present: set[int] = set()
        for number in spread(len(self), LOOKED_AT):
            with suppress(OSError, ValueError):  # reported when the sample is read
                present |= set(read_mask(self.masks[number], self.num_classes, self.ignore_index).unique().tolist())
        classes = present - {self.ignore_index}
        if len(classes) == 1:
            ignored = f", and ignore_index, {self.ignore_index}, which does not count" * (self.ignore_index in present)
            rank_zero_info(
                f"{min(len(self), LOOKED_AT)} of {len(self)} masks in {self.masks[0].parent} were looked at, which "
                f"have only the class {classes.pop()}{ignored}: classes are from 0 to {self.num_classes - 1}."
            )

    def _report_turned(self) -> None:
        """Log if images are turned by their EXIF orientation, and their masks have none."""
        found, looked_at = [], spread(len(self), LOOKED_AT)
        for number in looked_at:
            with suppress(OSError):  # reported when the sample is read
                if is_turned(self.images[number]) and not is_turned(self.masks[number]):
                    found.append(self.images[number].name)
        report = f"images ({len(looked_at)} of {len(self)} were looked at) that are turned by their EXIF orientation"
        if found:
            rank_zero_info(
                f"{len(found)} {report}, but their masks have none and are not turned: {', '.join(found[:NAMED])}"
            )

    def _random_crop(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, tuple[int, int]]:
        assert self.crop is not None
        height, width = (max(have, want) for have, want in zip(mask.shape, self.crop, strict=True))
        image = pad_to(image, height, width, 0.0)
        mask = pad_to(mask, height, width, self.ignore_index)
        top, left = (int(torch.randint(full - part + 1, ())) for full, part in zip(mask.shape, self.crop, strict=True))
        rows, columns = slice(top, top + self.crop[0]), slice(left, left + self.crop[1])
        return image[:, rows, columns], mask[rows, columns], (top, left)


def read_mask(path: Path, num_classes: int, ignore_index: int) -> Tensor:
    """Read a mask (H, W), int64.

    Args:
        path: an indexed PNG, or a grey image of up to 16 bits.
        num_classes: number of classes.
        ignore_index: value of pixels without a class.

    Raises:
        ValueError: if it is in a lossy format, or has several channels, values that are no class, or no pixel of a
            class.
        OSError: naming the file, for what :func:`~lightning_coordconv.core.images.read_rgb` refuses in an image file.
    """
    try:
        with open_image(path) as file:
            mode, image_format = file.mode, file.format
            if "jpeg" in str(file.info.get("compression")):  # in a TIFF file
                image_format = "JPEG"
            most = _largest_value(file)
            values = np.array(ImageOps.exif_transpose(file))
    except Exception as error:
        raise OSError(f"{path} cannot be read as a mask: {error}; replace or remove it") from error
    _check_lossless(path, image_format)
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


def pad_to(values: Tensor, height: int, width: int, fill: float) -> Tensor:
    """Pad an image or a mask (..., H, W) at the bottom and right to a size."""
    if values.shape[-2:] == (height, width):
        return values
    padding = (0, width - values.shape[-1], 0, height - values.shape[-2])
    return torch.nn.functional.pad(values, padding, value=fill)


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


def _mask_of(path: Path, name: Path, masks: Path) -> Path:
    """Return the mask of an image, which has the same name; that of ``a.1`` is no mask of ``a``."""
    beginning = glob.escape(name.name)
    found = sorted(mask for mask in (masks / name.parent).glob(f"{beginning}.*") if mask.stem == name.name)
    if not found:
        raise FileNotFoundError(f"{path} has no mask: expected {masks / name}.png")
    if len(found) > 1:
        raise ValueError(f"{path} has several masks, {found[0].name} and {found[1].name}: remove all but one")
    _check_lossless(found[0], Image.registered_extensions().get(found[0].suffix.lower()))
    return found[0]


def _check_lossless(mask: Path, image_format: str | None) -> None:
    if image_format in LOSSY:
        raise ValueError(
            f"{mask} is a mask in a lossy format ({image_format}), which changes the values at the borders of classes: "
            "make masks again and save them as PNG"
        )
