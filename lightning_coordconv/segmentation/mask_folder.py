"""Data set of images and label masks in two folders, and the function that pads images and masks to a size."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor
from torch.utils.data import Dataset

from lightning_coordconv.core.counts import listed
from lightning_coordconv.core.headers import read_headers
from lightning_coordconv.core.image_search import find_images
from lightning_coordconv.core.images import read_rgb
from lightning_coordconv.core.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from lightning_coordconv.core.survey import NAMED, Refuse, raise_refused, spread
from lightning_coordconv.segmentation.mask_files import mask_of, name_of, read_mask, report_unused_masks
from lightning_coordconv.segmentation.transforms import ImageAndMask

PREPROCESSING = Preprocessing(mean=IMAGENET_MEAN, std=IMAGENET_STD)
LOOKED_AT = 16
"""Number of masks that are looked at for their classes before a run."""


class MaskFolder(Dataset[dict[str, Any]]):
    """The images of a folder, with the masks of another that have the same names up to the ending.

    A mask gives the class of each pixel: an indexed ("palette") PNG, or a grey image of 8 or 16 bits, whose values are
    classes, whatever their colours. Images and masks are turned as the EXIF orientation of each says; a mask without
    one is taken to be of the turned image.

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
        ValueError: if two images, or two masks, have the same name up to the ending, or a mask is in a lossy format or
            GIF by its ending; when it is read, if it is in such a format, its size is not that of its image, it has a
            palette of greys that are not its values, other values than classes, or not a single pixel of a class, or if
            the transforms return something else than an image and its mask.
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
                mask = mask_of(path, name, masks)
            except (FileNotFoundError, ValueError) as error:
                refuse("images without a mask that can be used", error)
                continue
            seen[name] = path
            self.images.append(path)
            self.masks.append(mask)
            self.names.append(name)
        self.mask_folder = masks
        if names is None:
            report_unused_masks([path.relative_to(images) for path in found], masks)
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.crop = crop
        self.transform = ImageAndMask(transforms, ignore_index)
        self._report_single_class()
        self._report_headers()

    @property
    def sample_files(self) -> list[Path]:
        """The image of each sample."""
        return self.images

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
        some = [self.masks[number] for number in spread(len(self), LOOKED_AT)]
        try:
            present = {value for mask in some for value in
                       read_mask(mask, self.num_classes, self.ignore_index).unique().tolist()}  # fmt: skip
        except (OSError, ValueError):  # reported when the sample is read
            return
        classes = present - {self.ignore_index}
        if len(classes) == 1:
            ignored = f", and ignore_index, {self.ignore_index}, which does not count" * (self.ignore_index in present)
            rank_zero_info(
                f"{len(some)} of {len(self)} masks in {self.masks[0].parent} were looked at, which "
                f"have only the class {classes.pop()}{ignored}: classes are numbered from 0"
            )

    def _report_headers(self) -> None:
        """Log what is not read of images, and which are turned by their EXIF orientation, unlike their masks."""
        masks = dict(zip(self.images, self.masks, strict=True))
        headers = read_headers(self.images)
        for line in headers.remarks:
            rank_zero_info(line)
        turned_too = set(read_headers(masks[image] for image in headers.turned).turned)
        unlike = [image for image in headers.turned if masks[image] not in turned_too]
        if unlike:
            kind = "images turned by their EXIF orientation, unlike their masks"
            rank_zero_info(f"{listed(kind, unlike, NAMED)}; masks are taken to be of the turned images")

    def _random_crop(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, tuple[int, int]]:
        assert self.crop is not None
        height, width = (max(have, want) for have, want in zip(mask.shape, self.crop, strict=True))
        image = pad_to(image, height, width, 0.0)
        mask = pad_to(mask, height, width, self.ignore_index)
        top, left = (int(torch.randint(full - part + 1, ())) for full, part in zip(mask.shape, self.crop, strict=True))
        rows, columns = slice(top, top + self.crop[0]), slice(left, left + self.crop[1])
        return image[:, rows, columns], mask[rows, columns], (top, left)


def pad_to(values: Tensor, height: int, width: int, fill: float) -> Tensor:
    """Pad an image or a mask (..., H, W) at the bottom and right to a size."""
    if values.shape[-2:] == (height, width):
        return values
    padding = (0, width - values.shape[-1], 0, height - values.shape[-2])
    return torch.nn.functional.pad(values, padding, value=fill)
