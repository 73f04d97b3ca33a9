"""Metrics that average over samples, exact over ranks."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class MeanTerms(Metric):
    """The mean over samples of several numbers at once, whose number the first update tells.

    One update costs as much as that of a single ``MeanMetric``, however many terms a loss has.
    """

    full_state_update = False
    sums: Tensor
    samples: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(0), dist_reduce_fx="sum")
        self.add_state("samples", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, terms: Tensor, samples: int) -> None:
        """Add the means of a batch.

        Args:
            terms: (K,), means over the batch.
            samples: the batch's size.
        """
        weighted = terms.detach().float() * samples
        self.sums = weighted if self.sums.numel() == 0 else self.sums + weighted
        self.samples += samples

    def compute(self) -> Tensor:
        """Return the means (K,) over all samples; nothing (0,) before the first update."""
        return self.sums / self.samples


class SampleMean(Metric):
    """Mean over samples of a value that a subclass computes per sample: a sum and a count, exact over ranks."""

    full_state_update = False
    is_differentiable = False
    total: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def values(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return one value per sample, (B,)."""
        raise NotImplementedError(f"{type(self).__name__} must implement values(preds, target)")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch."""
        values = self.values(preds, target)
        self.total += values.sum(dtype=self.total.dtype)
        self.count += values.numel()

    def compute(self) -> Tensor:
        """Return the mean over all samples so far."""
        return (self.total / self.count).float()
