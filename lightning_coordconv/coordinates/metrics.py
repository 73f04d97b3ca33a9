"""Metrics and functions of the coordinate tasks: distance and accuracy of positions, and overlap (IoU) of pixels."""

from typing import Any, Literal

import torch
from torch import Tensor

from lightning_coordconv.core.arguments import check_choice
from lightning_coordconv.core.metrics import SampleMean

NORMS = (1, 2)


def pixel_distance(preds: Tensor, target: Tensor, norm: Literal[1, 2] = 2) -> Tensor:
    """Return the distances between predicted and true positions.

    Args:
        preds: predicted positions (B, n), in pixels.
        target: true positions (B, n), in pixels.
        norm: 1 for the Manhattan distance, 2 for the Euclidean.

    Returns:
        Distances (B,), float32, in pixels.

    Raises:
        ValueError: if the shapes differ or are not (B, n), or the norm is neither 1 nor 2.

    Example:
        >>> pixel_distance(torch.tensor([[0.0, 3.0]]), torch.tensor([[4.0, 0.0]]))
        tensor([5.])
    """
    check_choice("norm", norm, NORMS)
    _check_positions(preds, target)
    return torch.linalg.vector_norm(preds.float() - target.float(), ord=norm, dim=1)


def pixel_iou(preds: Tensor, target: Tensor, threshold: float = 0.5) -> Tensor:
    """Return the intersection over union of the predicted and the true pixels of each image (paper, section 4.3).

    Args:
        preds: probability of each pixel (B, ...), in [0, 1].
        target: 1 at true pixels, 0 elsewhere, (B, ...).
        threshold: pixels of a higher probability count as predicted; the reference implementation rounds, which is 0.5.

    Returns:
        IoU (B,) in [0, 1]; NaN for an image in which no pixel is predicted and none is true, or with a probability that
        is NaN.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> pixel_iou(torch.tensor([[0.9, 0.8, 0.1]]), torch.tensor([[1.0, 0.0, 0.0]]))
        tensor([0.5000])
    """
    if preds.shape != target.shape:
        raise ValueError(f"expected images of one shape, got {tuple(preds.shape)} and {tuple(target.shape)}")
    predicted, true = (preds > threshold).flatten(1), (target > threshold).flatten(1)
    common, either = (pixels.sum(1, dtype=torch.float32) for pixels in (predicted & true, predicted | true))
    iou = common / either  # of integers it would be in torch's default dtype, which a trainer sets to half precision
    return iou.masked_fill(preds.isnan().flatten(1).any(1), torch.nan)


class PixelDistance(SampleMean):
    """Mean distance in pixels between predicted and true positions; lower is better.

    Args:
        norm: 1 for the Manhattan distance, 2 for the Euclidean.
        kwargs: passed to :class:`torchmetrics.Metric`.

    Raises:
        ValueError: if the norm is neither 1 nor 2, or the positions are not two tensors (B, n).

    Example:
        >>> metric = PixelDistance(norm=1)
        >>> metric.update(torch.tensor([[0, 3], [1, 1]]), torch.tensor([[4, 0], [1, 1]]))
        >>> metric.compute()
        tensor(3.5000)
    """

    higher_is_better = False

    def __init__(self, norm: Literal[1, 2] = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_choice("norm", norm, NORMS)
        self.norm: Literal[1, 2] = norm

    def values(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return distances (B,)."""
        return pixel_distance(preds, target, self.norm)


class PositionAccuracy(SampleMean):
    """Share of positions that are right to within a tolerance; higher is better.

    Args:
        tolerance: a position is right if each coordinate differs by at most this many pixels. With 0 it must be the
            exact pixel, as for a classifier over pixels.
        kwargs: passed to :class:`torchmetrics.Metric`.

    Raises:
        ValueError: for a negative tolerance, or positions that are not two tensors (B, n).

    Example:
        >>> metric = PositionAccuracy()
        >>> metric.update(torch.tensor([[0, 3], [1, 1]]), torch.tensor([[4, 0], [1, 1]]))
        >>> metric.compute()
        tensor(0.5000)
    """

    higher_is_better = True

    def __init__(self, tolerance: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not tolerance >= 0:
            raise ValueError(f"tolerance must be at least 0, got {tolerance}")
        self.tolerance = tolerance

    def values(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return 1 for positions that are right, else 0, and NaN for predictions that are NaN, (B,)."""
        _check_positions(preds, target)
        right = ((preds - target).abs() <= self.tolerance).all(dim=1).float()
        return right.masked_fill(preds.isnan().any(dim=1), torch.nan)


class PixelIoU(SampleMean):
    """Mean over images of the IoU of predicted and true pixels; higher is better.

    Args:
        threshold: pixels of a higher probability count as predicted; in [0, 1).
        kwargs: passed to :class:`torchmetrics.Metric`.

    Raises:
        ValueError: for a threshold out of range, or if predictions and targets differ in shape.

    Example:
        >>> metric = PixelIoU()
        >>> metric.update(torch.tensor([[0.9, 0.8, 0.1]]), torch.tensor([[1.0, 0.0, 0.0]]))
        >>> metric.compute()
        tensor(0.5000)
    """

    higher_is_better = True

    def __init__(self, threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold must be in [0, 1), got {threshold}")
        self.threshold = threshold

    def values(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return IoUs (B,)."""
        return pixel_iou(preds, target, self.threshold)


def _check_positions(preds: Tensor, target: Tensor) -> None:
    if preds.shape != target.shape or preds.ndim != 2:
        raise ValueError(
            f"expected two tensors of positions (B, n), got {tuple(preds.shape)} and {tuple(target.shape)}"
        )
