"""Functions and classes that measure how position predicts a target, also beyond content, and predict it by place."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_coordconv.position.folds import FOLDS, frequent, resampled
from lightning_coordconv.position.rounding import deviations, in_units

BANDWIDTHS = (math.inf, 1.0, 0.5, 0.25, 0.12, 0.06, 0.03)
"""Standard deviations of Gaussian kernels: of positions in scaled coordinates from -1 to 1, of contents in units of the
root mean square distance between two contents; infinite ignores what the kernel compares."""
COARSE = 0.25
"""A bandwidth at which plain coordinates, through a few layers, can follow the target."""
PSEUDO_COUNT = 1.0
"""Weight of the prior against the neighbours, in observations: where there are no neighbours, the prior holds."""
CONTENT_BANDWIDTHS = BANDWIDTHS[:4]
"""The same for contents where positions are compared too: what a place changes is smooth in the content."""
RIDGE = 0.1
"""Penalty on the squared weights of a linear prediction, for contents of unit variance and a mean squared error."""
FLOOR = 1e-3
"""Probability that all classes together have at least, so that a wrong prediction costs no more than some nats."""
CERTAIN = 1e-3
"""A target whose prior leaves less uncertainty than this, in nats or in shares of a number's variance, is constant."""
TOLD = 0.02
"""A class of which the content leaves less than this share of the uncertainty is told by it: the estimate itself, which
mixes neighbours, leaves as much."""
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
        radius_share: value of ``added`` with the distance from the centre as the only position.
        coarse_share: value of ``added`` from what changes slowly over the image (a kernel of bandwidth ``COARSE``).
        bandwidth: the distance over which the target changes, in scaled coordinates, as most folds choose it; infinite
            where position does not help.
        is_place: whether the target itself is a position. Its ``share`` then is its distance from its mean place, in
            heights and widths of the image; see :func:`~lightning_coordconv.position.measure_spread`.
        constant: whether all observations have one target, about which there is nothing to tell.
    """

    what: str
    share: Share
    given_content: Share | None
    images: int
    observations: int
    radius_share: float
    coarse_share: float
    bandwidth: float
    is_place: bool = False
    constant: bool = False

    @property
    def added(self) -> Share:
        """What position adds to what is known without it: to the content, or to the prior if no content was given."""
        return self.share if self.given_content is None else self.given_content

    @property
    def enough(self) -> bool:
        """Whether there are enough images to conclude anything."""
        return self.images >= MIN_IMAGES and self.added.high - self.added.low <= MAX_WIDTH

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values; an infinite bandwidth becomes ``None``."""
        return asdict(self) | {"bandwidth": None if math.isinf(self.bandwidth) else self.bandwidth}


def measure_dependence(
    what: str, positions: Tensor, targets: Tensor, groups: Tensor, content: Tensor | None = None, seed: int = 0
) -> Dependence:
    """Measure how much of a target is predicted from position beyond its prior, and beyond its content.

    A kernel estimate predicts each held-out target from the training targets near its position: the weighted class
    frequencies of the neighbours, or their weighted mean. The content's prediction is linear, with a kernel estimate of
    what that leaves. What position adds is estimated from what is left then, among neighbours in both, and compared
    with a second estimate among neighbours in the content. Bandwidths are chosen on the training images only, and an
    infinite one, which ignores the position, is among the candidates. Images are never split between training and test.
    Classes in fewer images than there are folds do not count: where they are held out, too little tells of them.

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
    if not targets.is_floating_point():
        kept = frequent(targets, groups)
        positions, targets, groups = positions[kept], targets[kept], groups[kept]
        content = None if content is None else content[kept]
        what += "" if kept.all() else f", of classes in at least {FOLDS} images"
    if not len(targets):
        none = Share(0.0, 0.0, 0.0)
        return Dependence(what, none, None if content is None else none, 0, 0, 0.0, 0.0, math.inf)
    generator = torch.Generator().manual_seed(seed)
    names, groups = groups.unique(return_inverse=True)
    fold = torch.randperm(len(names), generator=generator)[groups] % FOLDS
    values, numeric = _as_columns(targets), targets.is_floating_point()
    if numeric:  # the result does not depend on the unit
        values = in_units(deviations(values)).float()
    there = _squared_distances(positions)
    centred = _squared_distances(positions.norm(dim=1, keepdim=True))
    smoother = _Smoother(values, numeric, groups, fold)

    def compare(model: _Prediction, base: _Prediction) -> Share:
        return _interval(model.losses, base.losses, groups, len(names), generator)

    base = prior = smoother.prior()
    by_position = smoother.improve(prior, _exponents(there))
    contents = [torch.zeros_like(there)]
    if content is not None:
        content = deviations(content)
        alike = _squared_distances(content)
        alike = alike / (alike.mean() or 1)
        base = smoother.improve(smoother.regress(prior, content), _exponents(alike))
        contents = [*_exponents(alike, CONTENT_BANDWIDTHS)]

    def added(squares: Tensor, bandwidths: Sequence[float] = BANDWIDTHS) -> _Prediction:
        return smoother.improve(base, (same + near for same in contents for near in _exponents(squares, bandwidths)))

    known = smoother.improve(base, contents)
    by_both, by_radius, coarse = added(there), added(centred), added(there, (math.inf, COARSE))
    loss = known.losses.sum()
    share, told = compare(by_position, prior), not numeric and bool(loss < TOLD * prior.losses.sum())
    return Dependence(
        what,
        share,
        None if content is None else Share(0.0, 0.0, 0.0) if told else compare(by_both, known),
        images=len(names),
        observations=len(targets),
        radius_share=_share(by_radius.losses.sum(), loss),
        coarse_share=_share(coarse.losses.sum(), loss),
        bandwidth=BANDWIDTHS[by_position.kernel],
        constant=float(prior.losses.mean()) < CERTAIN,
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


@dataclass(frozen=True)
class _Prediction:
    """What folds predict, each from all folds but itself.

    Attributes:
        values: (N, FOLDS, C), for all observations; those of the training images do not know their own image.
        losses: (N,), of the held-out observations.
        kernel: index of the kernel that most folds chose.
    """

    values: Tensor
    losses: Tensor
    kernel: int


class _Smoother:
    """Kernel estimates of targets, in several steps, each of which predicts what the one before left.

    Args:
        values: (N, C), the targets.
        numeric: whether they are numbers.
        groups: (N,), the image of each observation.
        fold: (N,).
    """

    def __init__(self, values: Tensor, numeric: bool, groups: Tensor, fold: Tensor) -> None:
        self.values, self.numeric = values, numeric
        self.others = (groups[:, None] != groups[None]).float()
        self.held_out = F.one_hot(fold, FOLDS).bool()
        self.training = (~self.held_out).float()

    def prior(self) -> _Prediction:
        """Predict the mean of the training targets."""
        total, count, classes = self.training.mT @ self.values, self.training.sum(0)[:, None], self.values.shape[1]
        mean = total / count.clamp(min=1) if self.numeric else (total + 1 / classes) / (count + 1)
        predicted = mean.expand(len(self.values), -1, -1)
        return _Prediction(predicted, self._losses(predicted)[self.held_out], 0)

    def regress(self, base: _Prediction, content: Tensor) -> _Prediction:
        """Add to a prediction the ridge regression of what it leaves on contents (N, K), float64, of mean 0."""
        features = in_units(content)
        weight = self.training.mT.double() / self.training.sum(0)[:, None].clamp(min=1)  # (FOLDS, N)
        left = (self.values[:, None] - base.values).double()
        gram = torch.einsum("fn,nk,nl->fkl", weight, features, features)
        gram = gram + RIDGE * torch.eye(gram.shape[-1], dtype=gram.dtype)
        slopes = torch.linalg.solve(gram, torch.einsum("fn,nk,nfc->fkc", weight, features, left))
        values = base.values + torch.einsum("nk,fkc->nfc", features, slopes).float()
        return _Prediction(values, self._losses(values)[self.held_out], 0)

    def improve(self, base: _Prediction, exponents: Iterable[Tensor]) -> _Prediction:
        """Add to a prediction the mean of what it leaves of the neighbours' targets; for few neighbours add less.

        Args:
            base: the prediction.
            exponents: of kernels (N, N), of which each fold chooses one by its training images.
        """
        left = torch.cat([self.values[:, None] - base.values, torch.ones_like(base.values[..., :1])], dim=2)
        columns = (left * self.training[..., None]).flatten(1)
        count = self.training.sum(0).clamp(min=1)
        best, kernel = torch.full((FOLDS,), math.inf), torch.zeros(FOLDS, dtype=torch.long)
        values = base.values.clone()
        for number, exponent in enumerate(exponents):
            sums = ((torch.exp(-exponent) * self.others) @ columns).view(left.shape)
            predicted = base.values + sums[..., :-1] / (sums[..., -1:] + PSEUDO_COUNT)
            inner = (self._losses(predicted) * self.training).sum(0) / count
            better = inner < best
            best, kernel = torch.where(better, inner, best), torch.where(better, number, kernel)
            values[:, better] = predicted[:, better]
        return _Prediction(values, self._losses(values)[self.held_out], int(kernel.mode().values))

    def _losses(self, predicted: Tensor) -> Tensor:
        """Return squared errors, or the negative logarithm of the probability of the class, (N, FOLDS)."""
        if self.numeric:
            return (predicted - self.values[:, None]).square()[..., 0]
        share = predicted.clamp(min=FLOOR / predicted.shape[-1])
        share = share / share.sum(-1, keepdim=True)
        return -(share.log() * self.values[:, None]).sum(-1)


def _share(model: Tensor, prior: Tensor) -> float:
    return float(1 - model / prior) if prior > 0 else 0.0


def _interval(model: Tensor, prior: Tensor, groups: Tensor, count: int, generator: torch.Generator) -> Share:
    """Return the share, and the ends of its 95 % interval by bootstrap over images."""
    sums = torch.zeros(2, count).index_add_(1, groups, torch.stack([model, prior]))
    if float(prior.mean()) < CERTAIN:
        return Share(0.0, 0.0, 0.0)
    losses, priors = resampled(sums, generator)
    shares = 1 - losses / priors.clamp(min=1e-12)
    low, high = shares.quantile(torch.tensor([0.025, 0.975])).tolist()
    return Share(_share(*sums.sum(1)), low, high)
