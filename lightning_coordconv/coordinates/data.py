"""Data module of Not-so-Clevr, images of a square at every position, for the three coordinate tasks."""

from collections.abc import Sequence
from typing import Any, Literal

from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_coordconv.coordinates.dataset import NotSoClevr
from lightning_coordconv.core.data import BaseDataModule, Split


class NotSoClevrDataModule(BaseDataModule):
    """Positions of a square on a canvas, split as in the paper.

    The paper has no third split: the held-out positions serve as validation and test split. ``test`` has two loaders,
    the held-out positions and the training positions, so that one test measures the final weights on both; ``predict``
    covers the whole canvas.

    Args:
        partition: ``"uniform"``, ``"quadrant"`` or ``"authors"``; see
            :class:`~lightning_coordconv.coordinates.NotSoClevr` for this and the next three.
        canvas: height and width in pixels.
        size: side of the square in pixels, odd.
        coordinates: ``"scaled"`` to [-1, 1], or raw ``"pixels"``.
        batch_size: see :class:`~lightning_coordconv.core.BaseDataModule` for this and the next two.
        eval_batch_size: the same for validation, test and prediction.
        num_workers: loading processes per rank.
        seed: seed of the uniform partition and of the order of the training samples.

    Raises:
        ValueError: for arguments that :class:`~lightning_coordconv.coordinates.NotSoClevr` or
            :class:`~lightning_coordconv.core.BaseDataModule` refuses.
    """

    sample_keys: frozenset[str] = frozenset({"xy_scaled", "xy", "pixel_index", "onehot", "image", "held_out"})
    whole_batches = True

    def __init__(
        self,
        partition: Literal["uniform", "quadrant", "authors"] = "uniform",
        canvas: int = 64,
        size: int = 9,
        coordinates: Literal["scaled", "pixels"] = "scaled",
        batch_size: int = 16,
        eval_batch_size: int | None = None,
        num_workers: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, num_workers, seed)
        self.partition = partition
        self.seeded_split = partition == "uniform"
        self.canvas = canvas
        self.size = size
        self.coordinates = coordinates
        splits: tuple[Split, ...] = ("train", "val")
        for split in splits:
            self.dataset(split)  # refuses an impossible canvas before anything is written

    def describe(self) -> dict[str, Any]:
        """Return ``positions``: the arguments of :class:`~lightning_coordconv.coordinates.NotSoClevr`."""
        names = ("partition", "canvas", "size", "coordinates")
        positions = {name: getattr(self, name) for name in names} | {"seed": self.split_seed}
        return {**super().describe(), "positions": positions}

    def make_dataset(self, split: Split) -> NotSoClevr:
        """Build the positions of a split."""
        positions: dict[Split, Literal["train", "test", "all"]] = {"train": "train", "predict": "all"}
        return NotSoClevr(
            positions.get(split, "test"), self.partition, self.canvas, self.size, self.coordinates, self.split_seed
        )

    def test_dataloader(self) -> Sequence[DataLoader[Any]]:
        """Load the held-out positions, then the training positions in order."""
        return [self._dataloader("test"), self._dataloader("train", training=False)]

    def plot(self, sample: dict[str, Tensor]) -> Figure:
        """Draw one sample."""
        return self.make_dataset("predict").plot(sample)
