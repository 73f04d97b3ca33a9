"""The mean of what a loss is the sum of."""

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
