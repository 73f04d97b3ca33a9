"""How the objects of generated images spread over the canvas, beside those of real ones: a measure of mode collapse."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_coordconv.generative.metrics.objects import find_objects, flaws

POSITIONS = ("red", "blue", "difference")
"""Whose positions are measured: of either object, and of the red one relative to the blue one."""


def position_histogram(positions: Tensor, limits: tuple[float, float], bins: int = 10) -> Tensor:
    """Count positions in the cells of a square grid.

    Args:
        positions: (x, y), (B, 2); rows with NaN are left out, and positions beyond the limits fall to the outer cells.
        limits: where the grid begins and ends along both axes.
        bins: cells along an axis.

    Returns:
        Counts (bins, bins), int64, of rows y and columns x.

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
    """Return the entropy of a histogram in nats; 0 if it is empty.

    Example:
        >>> entropy(torch.tensor([5, 5, 0, 0]))
        tensor(0.6931)
    """
    probability = counts.flatten() / counts.sum().clamp(min=1)
    return torch.special.entr(probability).sum()


def divergence(preds: Tensor, target: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of one histogram from another, in nats.

    Half a count is added to every cell of both (Krichevsky and Trofimov), so it is finite.

    Args:
        preds: counts (...) of what is judged.
        target: counts (...) of what it should be like.

    Example:
        >>> divergence(torch.tensor([3, 0]), torch.tensor([1, 1]))
        tensor(0.3164)
    """
    p, q = ((counts + 0.5).flatten() / (counts + 0.5).sum() for counts in (preds, target))
    return (p * (p / q).log()).sum()


def coverage(preds: Tensor, target: Tensor) -> Tensor:
    """Return the share of the cells occupied in one histogram that are occupied in the other, too.

    Args:
        preds: counts (...) of what is judged.
        target: counts (...) of what it should be like.

    Example:
        >>> coverage(torch.tensor([3, 0, 1]), torch.tensor([1, 1, 0]))
        tensor(0.5000)
    """
    return ((preds > 0) & (target > 0)).sum() / (target > 0).sum().clamp(min=1)


class ObjectPositions(Metric):
    """Histograms of where the red and the blue object are, and of their difference, of generated and of real images.

    10x10 cells over the canvas, [0, S]^2, and over [-S, S]^2 for the difference: of a dozen estimators this one gives
    4.0, 4.0 and 3.5 nats for 1,000 real images, which are said to be the paper's; its own estimator is unknown.
    The states are counts, so results are exact over ranks.

    Args:
        radius: of the objects in pixels, see :func:`~lightning_coordconv.generative.metrics.objects.find_objects`.
        bins: cells along an axis.
        kwargs: passed to :class:`torchmetrics.Metric`.
    """

    full_state_update = False
    is_differentiable = False
    preds: Tensor
    target: Tensor

    def __init__(self, radius: int, bins: int = 10, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.radius = radius
        self.bins = bins
        for state in ("preds", "target"):
            self.add_state(state, torch.zeros(len(POSITIONS), bins**2, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add generated and real images, (B, 3, H, W) in [-1, 1], square."""
        self.preds += self._count(preds)
        self.target += self._count(target)

    def _count(self, images: Tensor) -> Tensor:
        size = images.shape[-1]
        blue, red = self.centres(images).unbind(1)
        canvas, twice = (0.0, size), (-size, size)
        positions = ((red, canvas), (blue, canvas), (red - blue, twice))
        return torch.stack([position_histogram(where, limits, self.bins).flatten() for where, limits in positions])

    def centres(self, images: Tensor) -> Tensor:
        """Return the centres to count, (B, 2, 2), NaN for those to leave out."""
        return find_objects(images, self.radius).centres


class ObjectPositionEntropy(ObjectPositions):
    """Entropies of positions in nats: ``entropy_*`` of generated, ``data_entropy_*`` of real images (paper, figure 6).

    Every object that there is a pixel of counts, well formed or not. The entropy of a histogram depends on the number
    of images: compare at the same one; the paper has 1,000.

    Args:
        radius: see :class:`ObjectPositions`.
        bins: as there.
        kwargs: as there.
    """

    def compute(self) -> dict[str, Tensor]:
        """Return six entropies."""
        entropies = {f"entropy_{name}": entropy(counts) for name, counts in zip(POSITIONS, self.preds, strict=True)}
        return entropies | {
            f"data_entropy_{name}": entropy(counts) for name, counts in zip(POSITIONS, self.target, strict=True)
        }


class ObjectPositionDivergence(ObjectPositions):
    """How far positions are from real ones: ``kl``, lower is better, and ``coverage``, higher is better.

    ``kl_*`` is the Kullback-Leibler divergence of generated from real positions in nats, with images that are not well
    formed in a cell of their own; ``kl`` is the mean of the three. ``coverage_*`` is the share of the cells with real
    objects that well-formed images reach. Both have a floor or a ceiling below perfection that depends on the number of
    images: real images against other real ones tell it.

    Args:
        radius: see :class:`ObjectPositions`.
        bins: as there.
        kwargs: as there.
    """

    flawed: Tensor

    def __init__(self, radius: int, bins: int = 10, **kwargs: Any) -> None:
        super().__init__(radius, bins, **kwargs)
        self.add_state("flawed", torch.zeros(2, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add generated and real images, (B, 3, H, W) in [-1, 1], square."""
        super().update(preds, target)
        self.flawed += torch.stack([self.centres(images).isnan().any(2).any(1).sum() for images in (preds, target)])

    def centres(self, images: Tensor) -> Tensor:
        """Return the centres of well-formed images, (B, 2, 2), NaN for others."""
        objects = find_objects(images, self.radius)
        flawed = torch.stack(list(flaws(objects, self.radius).values())).any(0)
        return objects.centres.masked_fill(flawed[:, None, None], torch.nan)

    def compute(self) -> dict[str, Tensor]:
        """Return divergences and coverages."""
        counts = [torch.cat([state, flawed.expand(len(POSITIONS), 1)], dim=1) for state, flawed in
                  zip((self.preds, self.target), self.flawed, strict=True)]  # fmt: skip
        results = {f"kl_{name}": divergence(*pair) for name, *pair in zip(POSITIONS, *counts, strict=True)}
        results["kl"] = torch.stack(list(results.values())).mean()
        pairs = zip(POSITIONS, self.preds, self.target, strict=True)
        return results | {f"coverage_{name}": coverage(preds, target) for name, preds, target in pairs}


class ObjectFlaws(Metric):
    """Share of images that are ``well_formed``, and of those with a ``missing``, an ``extra`` or a ``broken`` object.

    Args:
        radius: of the objects, see :func:`~lightning_coordconv.generative.metrics.objects.flaws`.
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
        found = flaws(find_objects(preds, self.radius), self.radius)
        self.counts += torch.stack(list(found.values())).sum(1)
        self.images += len(preds)

    def compute(self) -> dict[str, Tensor]:
        """Return four shares, in [0, 1]."""
        missing, extra, broken = self.counts / self.images
        return {"well_formed": 1 - missing - extra - broken, "missing": missing, "extra": extra, "broken": broken}
