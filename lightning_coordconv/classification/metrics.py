"""Functions that tell a classifier's class, and whether it is right, and a metric that averages over samples."""

from typing import Any

import torch
from torch import Tensor

from lightning_coordconv.core.arguments import check_at_least
from lightning_coordconv.core.metrics import SampleMean
from lightning_coordconv.core.undefined import is_undefined


def predicted_class(logits: Tensor) -> Tensor:
    """Return the class of the highest logit of each row (B, C), (B,); of equal ones the first."""
    return logits.argmax(1)


def top_k_correct(logits: Tensor, target: Tensor, k: int = 1) -> Tensor:
    """Return whether the true class is among the k classes with the highest logits.

    Of classes with equal logits the first come first, so that for k = 1 it is :func:`predicted_class`.

    Args:
        logits: one row per sample, (B, C), floating-point.
        target: true classes (B,), int64, in 0..C-1.
        k: number of classes that count as predicted. With k >= C every sample is right.

    Returns:
        Booleans (B,), False for a sample with a logit that is NaN or infinite: it has no order.

    Raises:
        ValueError: if k is not positive, or the shapes are not (B, C) and (B,).

    Example:
        >>> import torch
        >>> logits = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]])
        >>> top_k_correct(logits, torch.tensor([2, 2]), k=2)
        tensor([ True, False])
    """
    check_at_least(1, k=k)
    if logits.ndim != 2 or target.shape != logits.shape[:1]:
        raise ValueError(
            f"expected logits (B, C) and classes (B,), got {tuple(logits.shape)} and {tuple(target.shape)}"
        )
    target = target[:, None]
    true, classes = logits.gather(1, target), torch.arange(logits.shape[1], device=logits.device)
    before = (logits > true) | ((logits == true) & (classes < target))
    return (before.sum(dim=1) < k) & ~is_undefined(logits).any(dim=1)


class TopKAccuracy(SampleMean):
    """Share of samples whose true class is among the k most probable; higher is better.

    Unlike torchmetrics' accuracy it needs no number of classes, accepts fewer than k classes, and reads nothing from a
    device in its update.

    Args:
        k: number of classes that count as predicted.
        kwargs: passed to :class:`torchmetrics.Metric`.

    Raises:
        ValueError: if k is not positive, or the shapes are not (B, C) and (B,).

    Example:
        >>> import torch
        >>> metric = TopKAccuracy(k=2)
        >>> metric.update(torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]]), torch.tensor([2, 2]))
        >>> metric.compute()
        tensor(0.5000)
    """

    higher_is_better = True

    def __init__(self, k: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_at_least(1, k=k)
        self.k = k

    def values(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return 1 for samples that are right, else 0, and NaN where a logit is NaN or infinite, (B,)."""
        correct = top_k_correct(preds, target, self.k).float()
        return correct.masked_fill(is_undefined(preds).any(dim=1), torch.nan)
