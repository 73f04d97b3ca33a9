"""Metric of how much generated images vary, relative to real ones, which reveals a complete mode collapse."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

SMALLEST = 1e-3
"""Variation of real images, of a range of 2, up to which they count as equal: rounding in float32 gives 3e-4."""


class SampleVariation(Metric):
    """Variation between generated images relative to the variation between real images: ``variation``.

    The variation of a set of images is the standard deviation over the images, at each pixel and channel, as the root
    mean square over pixels and channels. The ratio is 0 if every latent vector gives the same image, and near 1 if
    generated images vary as much as real ones. It is NaN for fewer than two images, or if all real images are equal.
    States are sums, so results are exact over ranks.

    Args:
        shape: (C, H, W) of the images.
        kwargs: passed to :class:`torchmetrics.Metric`.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    images: Tensor
    sums: Tensor
    squares: Tensor

    def __init__(self, shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")
        for state in ("sums", "squares"):
            self.add_state(state, torch.zeros(2, *shape), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add generated and as many real images, (B, C, H, W) in [-1, 1]."""
        self.images += len(preds)
        self.sums += torch.stack([images.sum(0) for images in (preds, target)])
        self.squares += torch.stack([images.square().sum(0) for images in (preds, target)])

    def compute(self) -> Tensor:
        """Return the ratio, a scalar."""
        variances = (self.squares / self.images - (self.sums / self.images).square()).clamp(min=0)
        generated, real = variances.flatten(1).mean(1).sqrt()
        return torch.where((self.images > 1) & (real > SMALLEST), generated / real, torch.nan)
