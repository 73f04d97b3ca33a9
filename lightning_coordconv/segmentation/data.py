"""Data module of images and label masks in folders, for semantic segmentation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from matplotlib.figure import Figure
from torch import nn

from lightning_coordconv.core.arguments import check_at_least, check_names
from lightning_coordconv.core.data import BaseDataModule, Split
from lightning_coordconv.core.image_search import find_images, find_predicted, leave_out_repeated
from lightning_coordconv.core.survey import Refuse, raise_refused
from lightning_coordconv.segmentation.drawing import draw_masks
from lightning_coordconv.segmentation.image_files import ImageFiles
from lightning_coordconv.segmentation.mask_files import report_unused_masks
from lightning_coordconv.segmentation.mask_folder import PREPROCESSING, MaskFolder, pad_to
from lightning_coordconv.segmentation.value_colours import ColoursOfMasks


class MaskFolderDataModule(BaseDataModule):
    """Images and label masks, in ``root/{train,val,test}/{images,masks}`` or in ``root/{images,masks}``.

    In the second layout the images are split by chance, 80, 10 and 10 %, in the same way for the same seed. Without a
    ``test`` folder, ``val`` serves as the test split too. Images of predictions are read tile by tile, without masks;
    see :class:`~lightning_coordconv.segmentation.ImageFiles`. Training
    images are cropped at random if ``crop`` is given; images of several sizes are padded to a common size within their
    batch, with ``ignore_index`` in the mask. Convolutions near the edge of an image see that padding, so each
    evaluation batch is one image by default, and its result does not depend on others. Each sample says where in its
    full image it lies, which :class:`~lightning_coordconv.segmentation.SemanticSegmentation` tells the network.

    Args:
        root: the folder.
        num_classes: number of classes, the background included.
        ignore_index: value of pixels without a class.
        predict_images: a folder of images to make predictions for, or one image, by its path from ``root`` or else from
            the current folder; by default the images of the test split.
        crop: height and width of random training crops, in pixels; whole images by default.
        train_transforms: v2 transforms of training images and masks, before the crop; none by default. Masks change by
            the nearest pixel, and pixels that come in from outside get ``ignore_index``. Coordinates are those of the
            transformed image, so crop by ``crop``, which keeps those of the full image.
        class_names: for tables and pictures; numbers by default.
        batch_size: see :class:`~lightning_coordconv.core.BaseDataModule` for this and the following.
        eval_batch_size: the same for validation, test and prediction.
        num_workers: the same; images are decoded, so there is one per core by default.
        seed: fixes the split and the order of the training samples.

    Raises:
        FileNotFoundError: if a folder is missing, or an image has no mask.
        ValueError: if ``num_classes`` is less than 2, names and classes do not agree, a crop is not positive, or there
            are too few images for three splits.
    """

    sample_keys: frozenset[str] = frozenset({"image", "mask", "origin", "size", "path", "name"})
    preprocessing = PREPROCESSING
    decodes_files: ClassVar[bool] = True

    def __init__(
        self,
        root: str,
        num_classes: int,
        ignore_index: int = 255,
        predict_images: str | None = None,
        crop: tuple[int, int] | None = None,
        train_transforms: list[nn.Module] | None = None,
        class_names: Sequence[str] | None = None,
        batch_size: int = 8,
        eval_batch_size: int | None = 1,
        num_workers: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, num_workers, seed)
        check_at_least(2, num_classes=num_classes)
        if 0 <= ignore_index < num_classes:
            raise ValueError(f"ignore_index must not be one of the classes 0 to {num_classes - 1}, got {ignore_index}")
        if crop is not None:
            if isinstance(crop, str) or not isinstance(crop, Sequence) or len(crop) != 2:
                raise ValueError(f"crop must be a height and a width in pixels, got {crop!r}")
            check_at_least(1, **{"the height of crop": crop[0], "the width of crop": crop[1]})
        if class_names is not None:
            check_names(class_names, num_classes)
        self.root = Path(root).expanduser()
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.predict_images = predict_images
        self.crop = crop
        self.colours_of_masks = ColoursOfMasks()
        self.train_transforms = train_transforms or []
        self.are_named = class_names is not None
        self.class_names = [str(number) for number in range(num_classes)] if class_names is None else list(class_names)

    def describe(self) -> dict[str, Any]:
        """Return what is known of the data, without classes that have numbers for want of names."""
        described = super().describe()
        return described if self.are_named else {key: described[key] for key in described if key != "class_names"}

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:  # type: ignore[override]
        """Pad images and masks to the largest size among them and make a batch; other values become lists."""
        batch: dict[str, Any] = {key: [sample[key] for sample in samples] for key in samples[0]}
        if "mask" not in batch:
            return batch
        height, width = (max(mask.shape[axis] for mask in batch["mask"]) for axis in (0, 1))
        batch["image"] = torch.stack([pad_to(image, height, width, 0.0) for image in batch["image"]])
        batch["mask"] = torch.stack([pad_to(mask, height, width, self.ignore_index) for mask in batch["mask"]])
        return batch

    def make_dataset(self, split: Split, refuse: Refuse = raise_refused) -> MaskFolder | ImageFiles:
        """Find the images and masks of a split; see :class:`~lightning_coordconv.segmentation.MaskFolder`."""
        if split == "predict" and self.predict_images is not None:
            folder, paths = find_predicted(self.root, self.predict_images)
            return ImageFiles(folder, [str(path.relative_to(folder)) for path in paths])
        if (self.root / "train").is_dir():
            folder = self.root / (split if split in ("train", "val") else self._test_folder())
            return self._folder(folder, split, None, refuse)
        folder = self.root / "images"
        found = find_images(folder)
        if split == "train":
            report_unused_masks([path.relative_to(folder) for path in found], self.root / "masks")
        names = [str(path.relative_to(folder)) for path in leave_out_repeated(found, folder)]
        chosen = self.random_split.divide(names, folder, "images")
        return self._folder(self.root, split, chosen["test" if split == "predict" else split], refuse)

    def plot(self, sample: dict[str, Any]) -> Figure:
        """Draw one sample: the image, its mask and, if there is a ``predicted`` mask (H, W), that too."""
        return draw_masks(sample, self.class_names, self.ignore_index)

    def _folder(self, folder: Path, split: Split, names: list[str] | None, refuse: Refuse) -> MaskFolder | ImageFiles:
        images, masks = folder / "images", folder / "masks"
        if split == "predict":
            return ImageFiles(images, names)
        crop, transforms = (self.crop, self.train_transforms) if split == "train" else (None, [])
        dataset = MaskFolder(images, masks, self.num_classes, self.ignore_index, crop, transforms, names, refuse)
        self.colours_of_masks.report(dataset.masks)
        return dataset

    def _test_folder(self) -> str:
        return "test" if (self.root / "test").is_dir() else "val"
