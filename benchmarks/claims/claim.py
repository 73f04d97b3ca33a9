"""Class of a claim of the CoordConv paper, functions that make criteria, compare two arms, give training lengths."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

import numpy as np

from benchmarks.claims.evidence import Arm, Best, Count, Criterion
from benchmarks.claims.records import metric
from lightning_coordconv.runtime.comparison.statistics import Values

LABELS = ("CoordConv", "convolution")
UNKNOWN: Mapping[str, float] = {}
"""The length of a training that the paper does not give, or that makes no difference."""


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    Args:
        name: two or three words.
        claimed: what the paper claims.
        place: section or figure.
        reported: what the paper reports.
        criteria: what the claim means in numbers.
        commands: those that make the records; by default one sweep over the experiments.
        full: the experiments in the paper's setting, where others are evaluated because these have no records.
    """

    name: str
    claimed: str
    place: str
    reported: str
    criteria: tuple[Criterion | Best | Count, ...]
    commands: tuple[str, ...] = ()
    full: tuple[str, ...] = ()

    @property
    def experiments(self) -> list[str]:
        """The experiments whose records are read, each once."""
        return list(dict.fromkeys(arm.experiment for criterion in self.criteria for arm in criterion.arms))


def length(images: float, batch: int) -> dict[str, float]:
    """Return the length of a training, by unit."""
    return {"images": images, "optimiser steps": images / batch}


def difference(ours: Values, theirs: Values) -> float:
    """Return the mean of the first arm less that of the second."""
    return float(np.mean(ours) - np.mean(theirs))


def gain(ours: Values, theirs: Values) -> float:
    """Return by which share the mean of the first arm exceeds that of the second."""
    return float(np.mean(ours) / np.mean(theirs) - 1)


def ratio(ours: Values, theirs: Values) -> float:
    """Return the median of the second arm in multiples of the first arm's."""
    return float(np.median(theirs) / np.median(ours))


def mean_of(
    name: str,
    experiment: str,
    key: str,
    paper: Mapping[str, float] = UNKNOWN,
    at_least: float = -inf,
    at_most: float = inf,
) -> Criterion:
    """Return a criterion on the mean of a metric of the test of one experiment."""
    return Criterion(name, (Arm(experiment, metric(key), paper),), at_least=at_least, at_most=at_most)


def less(
    name: str,
    pair: tuple[str, str],
    key: str,
    paper: Mapping[str, float] = UNKNOWN,
    at_least: float = -inf,
    at_most: float = inf,
) -> Criterion:
    """Return a criterion on the mean of a metric of the first experiment less that of the second."""
    arms = tuple(Arm(experiment, metric(key), paper, label) for experiment, label in zip(pair, LABELS, strict=True))
    return Criterion(name, arms, difference, at_least, at_most)
