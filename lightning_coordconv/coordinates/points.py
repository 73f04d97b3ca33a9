"""Data set of pictures with one labelled point each, and the function that plots a sample."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch.utils.data import Dataset

from lightning_coordconv.coordinates.points_file import Point
from lightning_coordconv.core.arguments import check_at_least
from lightning_coordconv.core.images import read_rgb
from lightning_coordconv.core.preprocessing import Preprocessing


class PointImages(Dataset[dict[str, Any]]):
    """Pictures with one point each, stretched to a square.

    A sample is a dict with

    ========  =======  =========  =====================================================================
    key       type     shape      content
    ========  =======  =========  =====================================================================
    image     float32  (3, S, S)  RGB in [0, 1]
    xy        float32  (2,)       (x, y) in pixels of the file; x counts columns, y counts rows
    size      float32  (2,)       width and height of the file in pixels
    path      str                 the file
    ========  =======  =========  =====================================================================

    Args:
        folder: of the images.
        points: see :func:`read_points`.
        image_size: height and width S in pixels.

    Raises:
        ValueError: for an image size below 1.
        OSError: when a sample is read from a file that is damaged.
    """

    def __init__(self, folder: Path, points: Sequence[Point], image_size: int) -> None:
        check_at_least(1, image_size=image_size)
        self.folder = folder
        self.points = points
        self.preprocessing = Preprocessing(stretch=image_size)

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> dict[str, Any]:
        point = self.points[index]
        path = self.folder / point.name
        return {
            "image": self.preprocessing(read_rgb(path)),
            "xy": torch.tensor([point.x, point.y]),
            "size": torch.tensor(point.size, dtype=torch.float32),
            "path": str(path),
        }


def draw_point(sample: dict[str, Any]) -> Figure:
    """Draw a sample: the picture, in its own proportions, with a cross at its point."""
    x, y = sample["xy"].tolist()
    width, height = sample["size"].tolist()
    figure = Figure(figsize=(4, 4 * height / width), layout="constrained")
    axes = figure.subplots()
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    axes.imshow(sample["image"].permute(1, 2, 0).numpy(), extent=extent, aspect="equal")
    axes.plot(x, y, "+", color="tab:red", markersize=16, markeredgewidth=2)
    axes.set_title(f"({x:g}, {y:g})")
    return figure
