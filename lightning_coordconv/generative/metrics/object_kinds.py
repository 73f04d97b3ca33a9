"""Metric: entropy of the pairs of shapes (square, circle) in generated images, next to that of real images."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_coordconv.core.checked import CheckedArguments
from lightning_coordconv.generative.metrics.objects import find_flaws, find_objects
from lightning_coordconv.generative.metrics.position_histograms import entropy


class ObjectKindEntropy(CheckedArguments, Metric):
    """Entropy of the pairs of shapes of well-formed images in nats: ``entropy_kinds``, ``data_entropy_kinds``.

    The blue object is a square or a circle, and so is the red one: ln 4 = 1.386 if all four pairs are equally frequent,
    as in Sort-of-CLEVR, and less if some are missing, which the entropies of positions do not show. NaN without any
    well-formed image. The states are counts, so results are exact over ranks.

    Args:
        radius: of the objects in pixels, see :func:`~lightning_coordconv.generative.find_objects`.
        kwargs: passed to :class:`torchmetrics.Metric`.
    """

    full_state_update = False
    is_differentiable = False
    preds: Tensor
    target: Tensor

    def __init__(self, radius: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.radius = radius
        for state in ("preds", "target"):
            self.add_state(state, torch.zeros(4, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add generated and real images, (B, 3, H, W) in [-1, 1]."""
        self.preds += self._count(preds)
        self.target += self._count(target)

    def compute(self) -> dict[str, Tensor]:
        """Return both entropies."""
        return {"entropy_kinds": entropy(self.preds), "data_entropy_kinds": entropy(self.target)}

    def _count(self, images: Tensor) -> Tensor:
        objects = find_objects(images, self.radius)
        flawed = torch.stack(list(find_flaws(objects, self.radius).values())).any(0)
        blue, red = objects.circle[~flawed].long().unbind(1)
        return torch.bincount(2 * blue + red, minlength=4)
