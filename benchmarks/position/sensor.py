"""Task of the position benchmark that corrects a sensor's uneven sensitivity, and functions that generate its data."""

from contextlib import nullcontext

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from benchmarks.position.data import Tensors
from benchmarks.position.task import ScoredTask
from lightning_coordconv.core.data import Split
from lightning_coordconv.core.task import Batch
from lightning_coordconv.layers import coordinate_frame

FIELD, CROP = 96, 32
"""Height and width of the field of view and of a crop, in pixels."""
BUMPS = 6
COUNTS = {"train": 3000, "val": 300, "test": 500, "predict": 500}


def sensitivity(rows: Tensor, columns: Tensor) -> Tensor:
    """Return what a bump of height 1 measures at a place, given as scaled coordinates from -1 to 1."""
    return 1 - 0.35 * (rows.square() + columns.square()) + 0.15 * rows


def bumps(split: Split, generator: Generator) -> Tensors:
    """Return crops of measurements of bumps, with the true heights and where the crops lie.

    A sample has the measurement ``image`` (1, 32, 32), the true ``height`` (1, 32, 32), and the ``origin`` (2,) of the
    crop in a field of view of ``size`` (2,), rows first. Heights of bumps are uniform from 0.3 to 1.
    """
    count = COUNTS[split]
    origin = torch.randint(FIELD - CROP + 1, (count, 2), generator=generator)
    centres = torch.rand(count, BUMPS, 2, generator=generator) * (CROP + 8) - 4  # some are cut by the crop
    peaks = torch.rand(count, BUMPS, generator=generator) * 0.7 + 0.3
    cells = torch.arange(CROP) + 0.5
    rows, columns = (torch.exp(-(cells - centres[..., k, None]).square() / 8) for k in (0, 1))  # (N, bumps, 32)
    height = (peaks[..., None, None] * rows[..., :, None] * columns[..., None, :]).amax(1)
    i, j = (((origin[:, k, None] + cells) / FIELD * 2 - 1) for k in (0, 1))
    noise = torch.randn(height.shape, generator=generator) * 0.01
    image = height * sensitivity(i[:, :, None], j[:, None, :]) + noise
    size = torch.full((count, 2), FIELD)
    return {"image": image[:, None], "height": height[:, None], "origin": origin, "size": size}


class SensorTask(ScoredTask):
    """Predicts the true heights that an uneven sensor measured; coordinates are those of its field of view."""

    unit = "error in % of the height"

    def score(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the squared error of the height, and the mean absolute error on bumps in per cent of their height."""
        image, height = batch["image"], batch["height"]
        frame = coordinate_frame(batch["origin"], batch["size"], crop=image.shape[-2:])
        with frame if self.framed else nullcontext():
            found = self.net(image)
        on_bump = (height > 0.1).float()
        error = ((found - height).abs() * on_bump).sum((1, 2, 3)) / (height * on_bump).sum((1, 2, 3))
        return F.mse_loss(found, height), 100 * error
