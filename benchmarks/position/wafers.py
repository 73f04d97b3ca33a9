"""LightningModule that classifies clusters of failed dies by mm from the wafer's middle; functions that make wafers."""

from contextlib import nullcontext

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from benchmarks.position.data import Tensors
from benchmarks.position.task import ScoredTask
from lightning_coordconv.core.data import Split
from lightning_coordconv.core.task import Batch
from lightning_coordconv.layers import coordinate_field

COUNTS = {"train": 3000, "val": 300, "test": 500, "predict": 500}
MAP = 48
"""Height and width of a wafer map, in dies."""
BOUNDARY = 50.0
"""Distance from the middle of the wafer, in mm, beyond which a cluster is the fault of the clamp."""
CUE = 0.8
"""Share of the wafers on which the density of the cluster tells its class."""
TEST_DIAMETERS = (150.0,)
"""Diameters of wafers in mm, each as often as the others."""


def wafers(split: Split, generator: Generator, training_diameters: tuple[float, ...] = (200.0, 300.0)) -> Tensors:
    """Return maps of failed dies, all of the same number of dies whatever the wafer's diameter.

    Each map has a cluster of failures. Its class says whether its cause is the process (0) or the clamp (1): whether it
    is less or more than 50 mm away from the middle. In 4 of 5 maps the cluster's density tells the class too. Wafers of
    200 and 300 mm are for training and validation, those of 150 mm for the test.

    A sample has the map ``image`` (1, 48, 48), the class ``label``, the row ``top`` and the column ``left`` of the
    cluster, and the physical coordinates ``millimetres`` (2, 48, 48) of each die, in units of 100 mm, rows first.
    """
    count = COUNTS[split]
    diameters = torch.tensor(TEST_DIAMETERS if split in ("test", "predict") else training_diameters)
    diameter = diameters[torch.randint(len(diameters), (count,), generator=generator)]
    share = 0.05 + 0.8 * torch.rand(count, generator=generator)  # of the radius
    angle = 2 * torch.pi * torch.rand(count, generator=generator)
    label = (share * diameter / 2 > BOUNDARY).long()
    honest = torch.rand(count, generator=generator) < CUE
    dense = torch.where(honest, label, 1 - label)
    cells = (torch.arange(MAP) + 0.5) / MAP * 2 - 1
    i, j = cells[None, :, None], cells[None, None, :]
    row, column = share * angle.sin(), share * angle.cos()
    distance = ((i - row[:, None, None]).square() + (j - column[:, None, None]).square()).sqrt()
    density = 0.02 + torch.where(dense == 1, 0.8, 0.4)[:, None, None] * (distance < 0.15)
    failed = torch.rand(count, MAP, MAP, generator=generator) < density
    image = (failed & (i.square() + j.square() < 1)).float()
    scale = (diameter / 200)[:, None, None, None]
    millimetres = torch.stack(torch.broadcast_tensors(i, j), dim=1) * scale
    return {
        "image": image[:, None],
        "label": label,
        "top": (row + 1) / 2 * MAP,
        "left": (column + 1) / 2 * MAP,
        "millimetres": millimetres,
    }


def wafers_mostly_one_size(split: Split, generator: Generator) -> Tensors:
    """Return maps as those of :func:`wafers`, but 19 of 20 wafers for training and validation have 300 mm.

    In training the place on the map tells the class more often than the density does: it is wrong only for some wafers
    of 200 mm.
    """
    return wafers(split, generator, training_diameters=(200.0, *[300.0] * 19))


class WaferTask(ScoredTask):
    """Predicts the cause of a cluster of failed dies; coordinates are in units of 100 mm."""

    mode = "max"
    unit = "accuracy"

    def score(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the cross-entropy of the cause, and whether it is found."""
        with coordinate_field(batch["millimetres"]) if self.framed else nullcontext():
            logits = self.net(batch["image"])
        return F.cross_entropy(logits, batch["label"]), (logits.argmax(1) == batch["label"]).float()
