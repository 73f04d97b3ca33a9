"""Base class of metrics that average one value per sample, exact over ranks, and metrics of losses and their terms."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_coordconv.core.checked import CheckedArguments


class MeanTerms(Metric):
    """Means of several numbers at once, such as the terms of a loss, over samples or whatever else is counted.

    One update takes as long as that of a single ``MeanMetric``. The first update sets the number of terms, K.
    """

    full_state_update = False
    sums: Tensor
    samples: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("samples", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, terms: Tensor, samples: int | Tensor) -> None:
        """Add the means of a batch.

        Args:
            terms: means over the batch, (K,).
            samples: number of samples in the batch, or of what each term is a mean over, (K,).
        """
        self.sums = self.sums + terms.detach().float() * samples
        self.samples = self.samples + samples

    def compute(self) -> Tensor:
        """Return the means over all samples, (K,); NaN, of shape (), if there were none."""
        return self.sums / self.samples


class MeanLoss(MeanTerms):
    """The loss that is the sum of the means of its terms; a term of which nothing was counted is 0.

    A loss of which no term counted anything is NaN: a perfect 0 would be taken for the best.
    """

    def compute(self) -> Tensor:
        """Return the loss, a scalar."""
        nothing = self.samples == 0
        means = self.sums / self.samples.masked_fill(nothing, 1)
        return means.sum() / ~nothing.all()  # 0 / 0 is NaN


class SampleMean(CheckedArguments, Metric):
    """Base class of metrics that are the mean of one value per sample: a sum and a count, exact over ranks.

    A subclass implements :meth:`values`. The mean of no samples is NaN, and so is that of samples of which one has the
    value NaN.

    Args:
        kwargs: passed to :class:`torchmetrics.Metric`.
    """

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
        """Add a batch.

        Raises:
            ValueError: if the values are not (B,), as those of predictions (B, 1) and targets (B,) are (B, B).
        """
        values = self.values(preds, target)
        if values.dim() != 1:
            raise ValueError(
                f"values of {type(self).__name__} must be one per sample, (B,), got {tuple(values.shape)}: predictions "
                f"are {tuple(preds.shape)}, targets {tuple(target.shape)}"
            )
        self.total += values.sum(dtype=self.total.dtype)
        self.count += values.numel()

    def compute(self) -> Tensor:
        """Return the mean over all samples since the last reset, a float32 scalar."""
        return (self.total / self.count).float()
