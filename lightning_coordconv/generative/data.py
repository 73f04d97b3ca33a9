"""Data modules of images to train generators on: two-object Sort-of-CLEVR, a folder of pictures, LSUN."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from lightning_coordconv.core.data import BaseDataModule, Split
from lightning_coordconv.core.headers import report_headers
from lightning_coordconv.core.image_search import find_images, leave_out_repeated
from lightning_coordconv.generative.lsun import LSUNImages
from lightning_coordconv.generative.sort_of_clevr import SHAPES, Shape, SortOfClevr
from lightning_coordconv.generative.unlabelled_images import UnlabelledImages


class SortOfClevrDataModule(BaseDataModule):
    """Two-object Sort-of-CLEVR; training, validation and test are drawn independently.

    So a few images are in two of them: with the default arguments 4 of the 1,000 for validation and 7 of the 1,000 for
    the test are pixel by pixel also in training; on a small canvas, or with one shape, there are more.

    Args:
        count: number of training images, at least ``batch_size``.
        eval_count: number of validation, of test and of predicted images, at least 1; the paper judges 1,000 samples.
        canvas: height and width in pixels; see :class:`~lightning_coordconv.generative.SortOfClevr` for this and the
            next two arguments.
        radius: of the objects in pixels.
        shapes: the shapes of objects, one or both of ``square`` and ``circle``.
        batch_size: samples in an optimiser step, over all ranks together.
        eval_batch_size: the same for validation, test and prediction.
        num_workers: loading processes per rank.
        seed: fixes the images and the order of those for training.

    Raises:
        ValueError: for numbers out of range, a canvas too small for two objects, or no full training batch.
    """

    sample_keys: frozenset[str] = frozenset({"image", "centre", "circle"})
    whole_batches = True
    drop_last = True

    def __init__(
        self,
        count: int = 50_000,
        eval_count: int = 1000,
        canvas: int = 64,
        radius: int = 10,
        shapes: Sequence[Shape] = SHAPES,
        batch_size: int = 16,
        eval_batch_size: int | None = 100,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, num_workers, seed)
        if eval_count < 1:
            raise ValueError(f"eval_count must be at least 1, got {eval_count}")
        require_full_batch(count, batch_size, "count")
        self.count = count
        self.eval_count = eval_count
        self.canvas = canvas
        self.radius = radius
        self.shapes = shapes
        self.dataset("val")  # so that an impossible canvas is refused before anything is written

    def make_dataset(self, split: Split) -> SortOfClevr:
        """Draw the images of a split."""
        images: Literal["train", "val", "test"] = "test" if split == "predict" else split
        count = self.count if split == "train" else self.eval_count
        return SortOfClevr(images, count, self.canvas, self.radius, self.shapes, self.seed)

    def plot(self, sample: dict[str, Tensor]) -> Figure:
        """Draw one sample."""
        dataset = self.dataset("val")
        assert isinstance(dataset, SortOfClevr)
        return dataset.plot(sample)


class UnlabelledImagesDataModule(BaseDataModule):
    """Pictures in a folder: the square in their middle, resized, in training also mirrored at random.

    Images are RGB in [-1, 1].

    Args:
        root: a folder with images at any depth; a random ``eval_count`` of them are held out for validation, and as
            many others for test.
        image_size: height and width of the square in pixels, at least 1.
        eval_count: number of images for validation, and for test, at least 1; as many images are predicted.
        flip: mirror half of the training images left to right.
        batch_size: see :class:`~lightning_coordconv.core.BaseDataModule` for this and the following arguments.
        eval_batch_size: the same for validation, test and prediction.
        num_workers: loading processes per rank; by default the number of CPU cores per rank, at most 8.
        seed: fixes the split and the order of the training images.

    Raises:
        FileNotFoundError: if the folder does not exist, or has no images.
        ValueError: for numbers out of range, or too few images to hold some out and to fill a training batch.
        OSError: when a file is read that is not an image, or is damaged.
    """

    sample_keys: frozenset[str] = frozenset({"image"})
    drop_last = True
    decodes_files = True

    def __init__(
        self,
        root: str,
        image_size: int = 64,
        eval_count: int = 1000,
        flip: bool = True,
        batch_size: int = 16,
        eval_batch_size: int | None = 100,
        num_workers: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, num_workers, seed)
        for name, value in (("image_size", image_size), ("eval_count", eval_count)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.root = Path(root).expanduser()
        self.image_size = image_size
        self.eval_count = eval_count
        self.flip = flip
        self.find_data()

    def find_data(self) -> None:
        """Find the images, so that a folder with too few of them is refused before anything is written."""
        paths = leave_out_repeated(find_images(self.root), self.root)
        report_headers(paths)
        names = [str(path.relative_to(self.root)) for path in paths]
        parts = self.random_split.divide(names, self.root, "images", self.eval_count)
        self.paths = {part: [self.root / name for name in some] for part, some in parts.items()}
        require_full_batch(len(self.paths["train"]), self.batch_size, f"the number of training images in {self.root}")

    def make_dataset(self, split: Split) -> Dataset[Any]:
        """Return the images of a split."""
        return UnlabelledImages(self.paths["test" if split == "predict" else split], self.transform(split))

    def transform(self, split: Split) -> v2.Compose:
        """Return the transform from a PIL image to a tensor (3, image_size, image_size) in [-1, 1]."""
        steps: list[Any] = [v2.Resize(self.image_size), v2.CenterCrop(self.image_size)]
        if split == "train" and self.flip:
            steps.append(v2.RandomHorizontalFlip())
        to_unit = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)]
        return v2.Compose([*steps, *to_unit])

    def plot(self, sample: dict[str, Tensor]) -> Figure:
        """Draw one sample."""
        figure = Figure(figsize=(3, 3), layout="constrained")
        axes = figure.subplots()
        axes.imshow((sample["image"].permute(1, 2, 0).numpy() + 1) / 2)
        axes.set_axis_off()
        return figure


class LSUNDataModule(UnlabelledImagesDataModule):
    """One category of LSUN, such as its 3,033,042 bedrooms; its 300 validation images serve all evaluation.

    Args:
        root: the folder of the databases, ``<category>_{train,val}_lmdb``.
        category: the category, such as ``bedroom``.
        image_size: see :class:`UnlabelledImagesDataModule` for this and the following arguments.
        flip: see there.
        batch_size: see there.
        eval_batch_size: see there.
        num_workers: see there.
        seed: see there.

    Raises:
        FileNotFoundError: if a database does not exist, with how to get it.
        ValueError: for numbers out of range, or fewer training images than a batch has.
        OSError: if a database is damaged or empty, or an image is when it is read.
    """

    def __init__(
        self,
        root: str,
        category: str = "bedroom",
        image_size: int = 64,
        flip: bool = True,
        batch_size: int = 16,
        eval_batch_size: int | None = 100,
        num_workers: int | None = None,
        seed: int = 0,
    ) -> None:
        self.category = category
        super().__init__(root, image_size, 300, flip, batch_size, eval_batch_size, num_workers, seed)

    def find_data(self) -> None:
        """Read the keys of both databases."""
        train, _ = self.dataset("train"), self.dataset("val")
        assert isinstance(train, LSUNImages)
        require_full_batch(len(train), self.batch_size, f"the number of images in {train.folder}")

    def make_dataset(self, split: Split) -> Dataset[Any]:
        """Return the images of a split; all evaluation shares one data set, since LMDB opens a database only once."""
        if split in ("test", "predict"):
            return self.dataset("val")
        part: Literal["train", "val"] = "train" if split == "train" else "val"
        return LSUNImages(self.root, self.category, part, self.transform(split))


def require_full_batch(count: int, batch_size: int, name: str) -> None:
    """Raise ValueError if there are fewer training samples than a batch has, so that an epoch would have no step."""
    if count < batch_size:
        raise ValueError(f"{name} must be at least batch_size = {batch_size}, got {count}: there would be no step")
