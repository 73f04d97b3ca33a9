"""How much of a target can be predicted from its position, measured by cross-validation."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

BANDWIDTHS = (math.inf, 1.0, 0.5, 0.25, 0.12, 0.06, 0.03)
"""Standard deviations of Gaussian kernels: of positions in scaled coordinates from -1 to 1, of contents in units of the
root mean square distance between two contents; infinite ignores what the kernel compares."""
COARSE = 0.25
"""A bandwidth at which plain coordinates, through a few layers, can follow the target."""
PSEUDO_COUNT = 1.0
"""Weight of the prior against the neighbours, in observations: where there are no neighbours, the prior holds."""
FOLDS = 5
RESAMPLES = 1000
CERTAIN = 1e-3
"""A target whose prior leaves less uncertainty than this, in nats or in its units squared, is constant."""
MIN_IMAGES = 20
"""Fewer images than this say nothing."""
MAX_WIDTH = 0.3
"""An interval wider than this says nothing."""


@dataclass(frozen=True)
class Share:
    """A share of the target's uncertainty that is removed, 0 for none and 1 for all, with its 95 % interval.

    The uncertainty is the entropy where the target is a class, and the variance where it is a number. It is measured on
    images that were held out, so a share can be slightly negative; the interval is a bootstrap over images.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Dependence:
    """What position tells about a target.

    Attributes:
        what: the target and the position, such as "class given the centre of the box".
        share: what position removes of the uncertainty of the prior.
        given_content: what position removes of the uncertainty that is left where the content at the place is known;
            ``None`` if no content was given. It finds targets that need both, such as a class of digit and place.
        images: number of images.
        observations: number of pairs of a position and a target.
        radius_share: value of ``share`` with the distance from the centre as the only position.
        coarse_share: value of ``share`` from what changes slowly over the image (a kernel of bandwidth ``COARSE``).
        bandwidth: the distance over which the target changes, in scaled coordinates, as most folds choose it; infinite
            where position does not help.
    """

    what: str
    share: Share
    given_content: Share | None
    images: int
    observations: int
    radius_share: float
    coarse_share: float
    bandwidth: float

    @property
    def shares(self) -> list[Share]:
        """The shares that were measured: with nothing else known, and given the content."""
        return [self.share] if self.given_content is None else [self.share, self.given_content]

    @property
    def enough(self) -> bool:
        """Whether there are enough images to conclude anything."""
        return self.images >= MIN_IMAGES and all(share.high - share.low <= MAX_WIDTH for share in self.shares)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values; an infinite bandwidth becomes ``None``."""
        return asdict(self) | {"bandwidth": None if math.isinf(self.bandwidth) else self.bandwidth}


def measure_dependence(
    what: str, positions: Tensor, targets: Tensor, groups: Tensor, content: Tensor | None = None, seed: int = 0
) -> Dependence:
    """Measure how much of a target is predicted from position beyond its prior, and beyond its content.

    A kernel estimate predicts each held-out target from the training targets near its position: the weighted class
    frequencies of the neighbours, or their weighted mean. Bandwidths are chosen on the training images only, and an
    infinite one, which ignores the position, is among the candidates. Images are never split between training and test.

    Args:
        what: a description for the report.
        positions: (N, n), scaled such that the image spans -1 to 1.
        targets: (N,), int64 for classes or floating-point for numbers.
        groups: (N,), int64, the image of each observation.
        content: (N, K), what is at the place, as numbers whose distances mean something; ``None`` to leave it out.
        seed: of the folds and of the bootstrap.

    Raises:
        ValueError: if the shapes do not agree or there is no observation.
    """
    if not len(positions) == len(targets) == len(groups) or len(targets) == 0 or positions.dim() != 2:
        shapes = [tuple(tensor.shape) for tensor in (positions, targets, groups)]
        raise ValueError(f"expected positions (N, n), targets (N,) and groups (N,) with N > 0, got shapes {shapes}")
    generator = torch.Generator().manual_seed(seed)
    names, groups = groups.unique(return_inverse=True)
    fold = torch.randperm(len(names), generator=generator)[groups] % FOLDS
    values, numeric = _as_columns(targets), targets.is_floating_point()
    there = _squared_distances(positions)
    centred = _squared_distances(positions.norm(dim=1, keepdim=True))

    def losses(exponents: Iterable[Tensor]) -> tuple[Tensor, float]:
        return _cross_validate(exponents, values, numeric, groups, fold)

    def compare(model: Tensor, base: Tensor) -> Share:
        return _interval(model, base, groups, len(names), generator)

    prior, _ = losses([torch.zeros_like(there)])
    by_position, scale = losses(_exponents(there))
    given = None
    if content is not None:
        alike = _squared_distances(content)
        alike = alike / alike.mean().clamp(min=1e-12)
        by_content, _ = losses(_exponents(alike))
        by_both, _ = losses(same + near for same in _exponents(alike) for near in _exponents(there))
        given = compare(by_both, by_content)
    return Dependence(
        what,
        compare(by_position, prior),
        given,
        images=len(names),
        observations=len(targets),
        radius_share=_share(losses(_exponents(centred))[0].sum(), prior.sum()),
        coarse_share=_share(losses(_exponents(there, (math.inf, COARSE)))[0].sum(), prior.sum()),
        bandwidth=scale,
    )


def predict_at(positions: Tensor, targets: Tensor, where: Tensor, bandwidth: float) -> Tensor:
    """Return what position predicts at given places, for a map.

    Args:
        positions: (N, n) of the observations.
        targets: (N,).
        where: (M, n), the places to predict for.
        bandwidth: of the kernel.

    Returns:
        Class probabilities (M, C), or means (M, 1).
    """
    kernel = torch.exp(-torch.cdist(where.float(), positions.float()).square() / (2 * bandwidth**2))
    values = _as_columns(targets)
    return (kernel @ values + PSEUDO_COUNT * values.mean(0)) / (kernel.sum(1, keepdim=True) + PSEUDO_COUNT)


def _as_columns(targets: Tensor) -> Tensor:
    """Return one column a class, or the number itself: (N, C) or (N, 1)."""
    if targets.is_floating_point():
        return targets.float()[:, None]
    _, index = targets.unique(return_inverse=True)
    return F.one_hot(index).float()


def _squared_distances(points: Tensor) -> Tensor:
    return torch.cdist(points.float(), points.float()).square()


def _exponents(squares: Tensor, bandwidths: Sequence[float] = BANDWIDTHS) -> Iterator[Tensor]:
    """Yield the exponents (N, N) of Gaussian kernels, one for each bandwidth."""
    return (squares / (2 * bandwidth**2) for bandwidth in bandwidths)


def _cross_validate(
    exponents: Iterable[Tensor], values: Tensor, numeric: bool, groups: Tensor, fold: Tensor
) -> tuple[Tensor, float]:
    """Return the held-out loss of each observation, (N,), and the bandwidth that most folds agree on.

    The sums over the neighbours of each fold are computed once for a kernel: from them follow the predictions from all
    folds but one, both for its training images, by which it chooses its kernel, and for its test images.

    Args:
        exponents: of kernels (N, N), of which each fold chooses one by its training images.
        values: (N, C).
        numeric: whether the target is a number.
        groups: (N,), the image of each observation.
        fold: (N,).
    """
    member = F.one_hot(fold, FOLDS).float()
    with_count = torch.cat([values, torch.ones(len(values), 1)], dim=1)
    columns = (member[:, :, None] * with_count[:, None]).flatten(1)
    others = (groups[:, None] != groups[None]).float()
    training = 1 - member
    counts, totals = training.sum(0), training.mT @ values
    classes = values.shape[1]
    mean = (totals + 1 / classes) / (counts[:, None] + 1) if classes > 1 else totals / counts[:, None].clamp(min=1)
    best = torch.full((FOLDS,), math.inf)
    losses = torch.zeros(len(values))
    chosen = [0] * FOLDS
    for number, exponent in enumerate(exponents):
        sums = ((torch.exp(-exponent) * others) @ columns).view(len(values), FOLDS, -1)
        rest = sums.sum(1, keepdim=True) - sums  # from all folds but one
        predicted = (rest[..., :-1] + PSEUDO_COUNT * mean) / (rest[..., -1:] + PSEUDO_COUNT)
        found = _losses(predicted, values[:, None], numeric)  # (N, FOLDS)
        inner = (found * training).sum(0) / counts.clamp(min=1)
        for index in range(FOLDS):
            if inner[index] < best[index]:
                best[index], chosen[index] = inner[index], number
                losses[fold == index] = found[fold == index, index]
    usual = max(set(chosen), key=chosen.count)
    return losses, BANDWIDTHS[usual % len(BANDWIDTHS)]


def _losses(predicted: Tensor, values: Tensor, numeric: bool) -> Tensor:
    """Return squared errors, or the negative logarithm of the probability of the class, without the last axis."""
    if numeric:
        return (predicted - values).square()[..., 0]
    return -(predicted.clamp(min=1e-12).log() * values).sum(-1)


def _share(model: Tensor, prior: Tensor) -> float:
    return float(1 - model / prior) if prior > 0 else 0.0


def _interval(model: Tensor, prior: Tensor, groups: Tensor, count: int, generator: torch.Generator) -> Share:
    """Return the share, and the ends of its 95 % interval by bootstrap over images."""
    sums = torch.zeros(2, count).index_add_(1, groups, torch.stack([model, prior]))
    if float(prior.mean()) < CERTAIN:
        return Share(0.0, 0.0, 0.0)
    drawn = torch.randint(count, (RESAMPLES, count), generator=generator)
    resampled = sums[:, drawn].sum(2)
    shares = 1 - resampled[0] / resampled[1].clamp(min=1e-12)
    low, high = shares.quantile(torch.tensor([0.025, 0.975])).tolist()
    return Share(_share(*sums.sum(1)), low, high)
