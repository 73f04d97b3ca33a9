"""Functions that count positions in a grid, and compute entropy, divergence and coverage of these histograms."""

import torch
from torch import Tensor


def position_histogram(positions: Tensor, limits: tuple[float, float], bins: int = 10) -> Tensor:
    """Count positions in the cells of a square grid.

    Args:
        positions: (x, y), (B, 2); rows with NaN are left out, positions beyond the limits count in the outer cells.
        limits: start and end of the grid along both axes.
        bins: cells along an axis.

    Returns:
        Counts (bins, bins), int64, rows y and columns x.

    Example:
        >>> position_histogram(torch.tensor([[1.0, 1.0], [1.0, 3.0], [1.5, 3.5]]), (0, 4), bins=2)
        tensor([[1, 0],
                [2, 0]])
    """
    start, stop = limits
    positions = positions[positions.isfinite().all(1)]
    cells = ((positions - start) * (bins / (stop - start))).floor().long().clamp(0, bins - 1)
    return torch.bincount(cells[:, 1] * bins + cells[:, 0], minlength=bins**2).view(bins, bins)


def entropy(counts: Tensor) -> Tensor:
    """Return the entropy of a histogram in nats; NaN if it is empty.

    Example:
        >>> entropy(torch.tensor([5, 5, 0, 0]))
        tensor(0.6931)
    """
    probability = counts.flatten() / counts.sum()
    return torch.special.entr(probability).sum()


def divergence(preds: Tensor, target: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of one histogram from another, in nats.

    Half a count is added to every cell of both (Krichevsky and Trofimov), so it is finite.

    Args:
        preds: counts (...) of generated images.
        target: counts (...) of real images.

    Example:
        >>> divergence(torch.tensor([3, 0]), torch.tensor([1, 1]))
        tensor(0.3164)
    """
    p, q = ((counts + 0.5).flatten() / (counts + 0.5).sum() for counts in (preds, target))
    return (p * (p / q).log()).sum()


def coverage(preds: Tensor, target: Tensor) -> Tensor:
    """Return the share of the cells with real objects that also have generated ones; NaN without real objects.

    Args:
        preds: counts (...) of generated images.
        target: counts (...) of real images.

    Example:
        >>> coverage(torch.tensor([3, 0, 1]), torch.tensor([1, 1, 0]))
        tensor(0.5000)
    """
    return ((preds > 0) & (target > 0)).sum() / (target > 0).sum()
