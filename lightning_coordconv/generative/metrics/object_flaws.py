"""Metric of the shares of generated images with both objects well formed, or with one missing, extra or broken."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_coordconv.core.checked import CheckedArguments
from lightning_coordconv.generative.metrics.objects import find_flaws, find_objects


class ObjectFlaws(CheckedArguments, Metric):
    """Share of images that are ``well_formed``, and of those with a ``missing``, an ``extra`` or a ``broken`` object.

    Args:
        radius: of the objects, see :func:`~lightning_coordconv.generative.find_flaws`.
        kwargs: passed to :class:`torchmetrics.Metric`.
    """

    full_state_update = False
    is_differentiable = False
    counts: Tensor
    images: Tensor

    def __init__(self, radius: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.radius = radius
        self.add_state("counts", torch.zeros(3, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Tensor) -> None:
        """Add generated images, (B, 3, H, W) in [-1, 1]."""
        found = find_flaws(find_objects(preds, self.radius), self.radius)
        self.counts += torch.stack(list(found.values())).sum(1)
        self.images += len(preds)

    def compute(self) -> dict[str, Tensor]:
        """Return four shares, in [0, 1]."""
        missing, extra, broken = self.counts / self.images
        return {"well_formed": 1 - missing - extra - broken, "missing": missing, "extra": extra, "broken": broken}
