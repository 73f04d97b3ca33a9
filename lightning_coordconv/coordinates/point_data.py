"""Data module of pictures with one labelled point each, which a CSV file lists."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from lightning_coordconv.coordinates.points import PointImages, draw_point
from lightning_coordconv.coordinates.points_file import read_points
from lightning_coordconv.core.arguments import check_at_least
from lightning_coordconv.core.data import BaseDataModule, Split
from lightning_coordconv.core.preprocessing import Preprocessing


class PointsDataModule(BaseDataModule):
    """Pictures and the position of one point in each, from a CSV file with the columns ``image``, ``x`` and ``y``.

    The pictures are split by chance, 80, 10 and 10 %, in the same way for the same seed, and stretched to a square.
    Predictions are made for the test split.

    Args:
        file: the CSV file; see :func:`~lightning_coordconv.coordinates.read_points`.
        image_size: height and width of the square in pixels.
        batch_size: see :class:`~lightning_coordconv.core.BaseDataModule` for this and the following.
        eval_batch_size: the same for validation, test and prediction.
        num_workers: loading processes per rank; by default the number of CPU cores per rank, at most 8.
        seed: fixes the split and the order of the training samples.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a line that cannot be used, naming file, line and value, and fewer than three lines.
        OSError: for an image that is missing or cannot be read.
    """

    sample_keys: frozenset[str] = frozenset({"image", "xy", "size", "path"})
    decodes_files = True

    def __init__(
        self,
        file: str,
        image_size: int = 128,
        batch_size: int = 16,
        eval_batch_size: int | None = None,
        num_workers: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, num_workers, seed)
        check_at_least(1, image_size=image_size)
        self.file = Path(file).expanduser()
        self.image_size = image_size
        self.preprocessing = Preprocessing(stretch=image_size)
        self.points = {point.name: point for point in read_points(self.file)}
        self.find_data()

    def find_data(self) -> None:
        """Split the pictures, so that too few of them are refused before anything is written."""
        self.parts = self.random_split.divide(sorted(self.points), self.file, "images")

    def make_dataset(self, split: Split) -> PointImages:
        """Return the pictures of a split."""
        names = self.parts["test" if split == "predict" else split]
        return PointImages(self.file.parent, [self.points[name] for name in names], self.image_size)

    def plot(self, sample: dict[str, Any]) -> Figure:
        """Draw one sample."""
        return draw_point(sample)
