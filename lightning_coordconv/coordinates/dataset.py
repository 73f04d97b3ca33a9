"""Data set Not-so-Clevr (paper, section 2): a square's positions as coordinates and images, in train and test parts."""

from typing import Literal

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.data import Dataset

from lightning_coordconv.core.arguments import check_at_least, check_choice

Partition = Literal["uniform", "quadrant", "authors"]
PARTITIONS: tuple[Partition, ...] = ("uniform", "quadrant", "authors")


class NotSoClevr(Dataset[dict[str, Tensor]]):
    """All positions at which a square fits on a canvas: 56 x 56 = 3,136 at the paper's sizes.

    A sample, or a batch of samples for a list of indices, is a dict with

    ===========  =======  ===========  ================================================================
    key          dtype    shape        content
    ===========  =======  ===========  ================================================================
    xy_scaled    float32  (2,)         (x, y) as decoders read it: in [-1, 1], or in pixels if
                                       ``coordinates`` is ``"pixels"``
    xy           int64    (2,)         (x, y) in pixels; x counts columns, y counts rows
    pixel_index  int64    ()           ``canvas * y + x``, the class of a classifier over pixels
    onehot       float32  (1, H, W)    1 at row y and column x, 0 elsewhere
    image        float32  (1, H, W)    1 on the square whose centre is (x, y), 0 elsewhere
    held_out     bool     ()           whether the position belongs to the test part of the partition
    ===========  =======  ===========  ================================================================

    The images hold 0 and 1. The authors' released data hold 0 and 128/255, with which no IoU exceeds 0.502.

    Args:
        split: ``"train"``, ``"test"`` or ``"all"`` positions.
        partition: ``"uniform"``: a random fifth is held out, drawn from ``seed``. ``"quadrant"``: held out where both x
            and y lie beyond the middle. ``"authors"``: the uniform partition of the released code, in which each
            position is held out with probability 1/4 (2,368 / 768 at the paper's sizes).
        canvas: height and width in pixels.
        size: side of the square in pixels, odd.
        coordinates: whether ``xy_scaled`` is ``"scaled"`` to [-1, 1] over the canvas, or in raw ``"pixels"`` as in the
            released code.
        seed: seed of the uniform partition; not negative.

    Raises:
        ValueError: for an unknown split, partition or unit, an even or negative size, a canvas smaller than the square,
            a negative seed, and a split without any position.
    """

    def __init__(
        self,
        split: Literal["train", "test", "all"],
        partition: Partition = "uniform",
        canvas: int = 64,
        size: int = 9,
        coordinates: Literal["scaled", "pixels"] = "scaled",
        seed: int = 0,
    ) -> None:
        check_choice("split", split, ("train", "test", "all"))
        check_choice("partition", partition, PARTITIONS)
        check_choice("coordinates", coordinates, ("scaled", "pixels"))
        check_at_least(1, size=size, canvas=canvas)
        check_at_least(0, seed=seed)
        if size % 2 == 0:
            raise ValueError(f"size must be an odd number of pixels, got {size}")
        if canvas < size:
            raise ValueError(f"a canvas of {canvas} pixels is smaller than the square of {size} pixels")
        self.canvas = canvas
        self.size = size
        self.coordinates = coordinates
        centres = torch.arange(size // 2, canvas - size // 2)
        # x is the outer loop: the order in which the authors' generator draws its partition
        xy = torch.cartesian_prod(centres, centres)
        held_out = _held_out(xy, partition, canvas, seed)
        chosen = {"train": ~held_out, "test": held_out, "all": torch.ones_like(held_out)}[split]
        self.xy = xy[chosen]
        self.held_out = held_out[chosen]
        if not len(self.xy):
            raise ValueError(
                f"the {partition} partition of {len(xy)} positions leaves none for the {split} split: "
                f"enlarge the canvas ({canvas})"
            )

    def __len__(self) -> int:
        return len(self.xy)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {key: value[0] for key, value in self.__getitems__([index]).items()}

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        """Return a whole batch at once; torch's loaders call this in place of ``__getitem__``."""
        chosen = torch.as_tensor(indices)
        xy = self.xy[chosen]
        pixel_index = self.canvas * xy[:, 1] + xy[:, 0]
        onehot = torch.zeros(len(xy), self.canvas**2).scatter_(1, pixel_index[:, None], 1.0)
        distance = (torch.arange(self.canvas)[:, None] - xy[:, None, :]).abs()  # (B, canvas, 2)
        column, row = (distance <= self.size // 2).float().unbind(-1)
        scaled = self.coordinates == "scaled"
        return {
            "xy_scaled": 2 * xy / (self.canvas - 1) - 1 if scaled else xy.float(),
            "xy": xy,
            "pixel_index": pixel_index,
            "onehot": onehot.view(-1, 1, self.canvas, self.canvas),
            "image": (row[:, :, None] * column[:, None, :])[:, None],
            "held_out": self.held_out[chosen],
        }

    def plot(self, sample: dict[str, Tensor]) -> Figure:
        """Draw one sample: the square, with a cross at its centre."""
        figure = Figure(figsize=(3, 3), layout="constrained")
        axes = figure.subplots()
        axes.imshow(sample["image"][0].numpy(), cmap="gray", vmin=0, vmax=1)
        x, y = sample["xy"].tolist()
        axes.plot(x, y, "x", color="tab:red")
        axes.set_title(f"({x}, {y})")
        return figure


def _held_out(xy: Tensor, partition: Partition, canvas: int, seed: int) -> Tensor:
    """Return which positions (N, 2) are held out, (N,), bool."""
    if partition == "quadrant":
        return (xy > canvas / 2).all(dim=1)
    if partition == "authors":
        return torch.from_numpy(np.random.RandomState(20202).random_sample(len(xy)) < 0.25)
    generator = torch.Generator().manual_seed(seed)
    held_out = torch.zeros(len(xy), dtype=torch.bool)
    held_out[torch.randperm(len(xy), generator=generator)[round(0.8 * len(xy)) :]] = True
    return held_out
