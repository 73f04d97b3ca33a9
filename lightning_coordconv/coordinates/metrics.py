"""How far a predicted position is from the true one, and how well a painted object covers it."""

from typing import Any, Literal

import torch
from torch import Tensor

from lightning_coordconv.core.metrics import SampleMean


def pixel_distance(preds: Tensor, target: Tensor, norm: Literal[1, 2] = 2) -> Tensor:
    """Distance between positions.

    Args:
        preds: predicted positions (B, n), in pixels.
        target: true positions (B, n), in pixels.
        norm: 1 for the Manhattan distance, 2 for the Euclidean.

    Returns:
        Distances (B,), float, in pixels.

    Raises:
        ValueError: if the shapes differ or are not (B, n), or the norm is neither 1 nor 2.

    Example:
        >>> pixel_distance(torch.tensor([[0.0, 3.0]]), torch.tensor([[4.0, 0.0]]))
        tensor([5.])
    """
    if norm not in (1, 2):
        raise ValueError(f"norm must be 1 or 2, got {norm}")
    if preds.shape != target.shape or preds.ndim != 2:
        raise ValueError(
            f"expected two tensors of positions (B, n), got {tuple(preds.shape)} and {tuple(target.shape)}"
        )
    difference = preds.float() - target.float()
    return torch.linalg.vector_norm(difference, ord=norm, dim=1)


def painted_iou(preds: Tensor, target: Tensor, threshold: float = 0.5) -> Tensor:
    """Intersection over union of painted and true pixels, per image (paper, section 4.3).

    Args:
        preds: probability that a pixel is painted, (B, ...), in [0, 1].
        target: 1 where it should be, 0 elsewhere, (B, ...).
        threshold: pixels above it count as painted; the reference implementation rounds, which is 0.5.

    Returns:
        IoU (B,) in [0, 1]; 1 where both are empty.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> painted_iou(torch.tensor([[0.9, 0.8, 0.1]]), torch.tensor([[1.0, 0.0, 0.0]]))
        tensor([0.5000])
    """
    if preds.shape != target.shape:
        raise ValueError(f"expected images of one shape, got {tuple(preds.shape)} and {tuple(target.shape)}")
    painted, wanted = (preds > threshold).flatten(1), (target > threshold).flatten(1)
    intersection = (painted & wanted).sum(1).float()
    union = (painted | wanted).sum(1)
    return torch.where(union > 0, intersection / union.clamp(min=1), torch.ones_like(intersection))


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
        if norm not in (1, 2):
            raise ValueError(f"norm must be 1 or 2, got {norm}")
        self.norm: Literal[1, 2] = norm

    def values(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return distances (B,)."""
        return pixel_distance(preds, target, self.norm)


class PositionAccuracy(SampleMean):
    """Share of positions that are right to within a tolerance; higher is better.

    Args:
        tolerance: a position is right if each coordinate is off by no more than this many pixels. 0 asks for the very
            pixel, as for a classifier over pixels.
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
        if tolerance < 0:
            raise ValueError(f"tolerance must not be negative, got {tolerance}")
        self.tolerance = tolerance

    def values(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return 1 where right, else 0, (B,)."""
        if preds.shape != target.shape or preds.ndim != 2:
            raise ValueError(
                f"expected two tensors of positions (B, n), got {tuple(preds.shape)} and {tuple(target.shape)}"
            )
        return ((preds - target).abs() <= self.tolerance).all(dim=1).float()


class PaintedIoU(SampleMean):
    """Mean over images of the IoU of painted and true pixels; higher is better.

    Args:
        threshold: pixels of a higher probability count as painted.
        kwargs: passed to :class:`torchmetrics.Metric`.

    Raises:
        ValueError: if predictions and targets differ in shape.

    Example:
        >>> metric = PaintedIoU()
        >>> metric.update(torch.tensor([[0.9, 0.8, 0.1]]), torch.tensor([[1.0, 0.0, 0.0]]))
        >>> metric.compute()
        tensor(0.5000)
    """

    higher_is_better = True

    def __init__(self, threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.threshold = threshold

    def values(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return IoUs (B,)."""
        return painted_iou(preds, target, self.threshold)
