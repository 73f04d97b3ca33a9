"""Verdicts on claims: a claim is a list of criteria, which records of runs meet, fail or leave open.

A criterion compares a quantity, computed from the records of one or more experiments, with a bound from the paper. It

- *holds* if the whole 95 % bootstrap interval over seeds is within the bound;
- *fails* if the whole interval is outside of it;
- is *open* if the bound is inside the interval, or if an experiment has fewer than ``MIN_SEEDS`` seeds;
- is *not run* if an experiment has no record.

A criterion is measured *in a smaller setting* if an experiment trained on fewer images than the paper's, counted as
optimiser steps times the batch (for agents: environment steps). :func:`verdict` makes the verdict of a claim from its
criteria.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

import numpy as np

from benchmarks.claims.records import MIN_SEEDS, Run, images, metric, records
from lightning_coordconv.runtime.comparison.statistics import Values, bootstrap

HOLDS, FAILS, OPEN, NOT_RUN = "holds", "fails", "open", "not run"
VERDICTS = ("reproduced", "reproduced in part", "contradicted", "undecided", "not run")


@dataclass(frozen=True)
class Arm:
    """An experiment, and what is read from each of its records.

    Args:
        experiment: its name.
        read: returns the value of a record.
        paper: on how many images the paper's run trained; 0 where a shorter training makes a result no weaker.
    """

    experiment: str
    read: Callable[[Run], float]
    paper: float = 0


class Finding(NamedTuple):
    """What was measured for a criterion."""

    result: str
    value: float = float("nan")
    interval: tuple[float, float] | None = None
    seeds: tuple[int, ...] = ()
    devices: tuple[str, ...] = ()
    share: float = 1
    """Of the paper's images, the least over all runs; at most 1."""
    case: str = ""
    """Which of several criteria it is, where the most favourable is chosen."""

    @property
    def smaller(self) -> bool:
        """Whether the setting is smaller than the paper's."""
        return self.share < 1


@dataclass(frozen=True)
class Criterion:
    """A quantity and its bounds.

    Args:
        name: what the quantity is.
        arms: the experiments that it is computed from.
        statistic: takes an array (seeds,) for each arm.
        at_least: lower bound.
        at_most: upper bound.
        exact: whether seeds make no difference, as for a number of weights: one seed is enough.
    """

    name: str
    arms: tuple[Arm, ...]
    statistic: Callable[..., Any] = np.mean
    at_least: float = -inf
    at_most: float = inf
    exact: bool = False

    @property
    def bound(self) -> str:
        """The bounds in words."""
        ends = [("at least", self.at_least), ("at most", self.at_most)]
        return " and ".join(f"{word} {end:,.10g}" for word, end in ends if np.isfinite(end))

    def evaluate(self) -> Finding:
        """Compare the records with the bounds."""
        runs = {arm: records(arm.experiment) for arm in self.arms}
        if not all(runs.values()):
            return Finding(NOT_RUN, seeds=tuple(map(len, runs.values())))
        values = [np.array([arm.read(run) for run in found]) for arm, found in runs.items()]
        value = float(self.statistic(*values))
        seeds = tuple(map(len, values))
        interval = None
        if self.exact:
            interval = (value, value)
        elif min(seeds) >= MIN_SEEDS:
            low, high = bootstrap(values, self.statistic)
            interval = (float(low), float(high))
        return Finding(
            OPEN if interval is None else self.compare(*interval),
            value,
            interval,
            seeds,
            tuple(sorted({run.get("device", "cpu") for found in runs.values() for run in found})),
            min(
                [
                    1,
                    *(
                        images(arm.experiment, run) / arm.paper
                        for arm, found in runs.items()
                        if arm.paper
                        for run in found
                    ),
                ]
            ),
        )

    def compare(self, low: float, high: float) -> str:
        """Return the result for an interval."""
        if self.at_least <= low and high <= self.at_most:
            return HOLDS
        return FAILS if high < self.at_least or low > self.at_most else OPEN


@dataclass(frozen=True)
class Best:
    """The most favourable of several criteria with the same bounds.

    It fails only if all of those that have enough seeds fail. A criterion in the paper's setting goes before one in a
    smaller setting.
    """

    name: str
    members: tuple[Criterion, ...]

    @property
    def bound(self) -> str:
        """The bounds in words."""
        return self.members[0].bound

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The experiments of all criteria."""
        return tuple(arm for member in self.members for arm in member.arms)

    def evaluate(self) -> Finding:
        """Compare the records with the bounds."""
        found = [member.evaluate()._replace(case=member.name) for member in self.members]
        order = (HOLDS, OPEN, FAILS)
        tried = [finding for finding in found if finding.interval]
        if not tried:
            return max(found, key=lambda finding: sum(finding.seeds))
        return min(tried, key=lambda finding: (finding.smaller, order.index(finding.result), -finding.value))


@dataclass(frozen=True)
class Count:
    """In how many cases a criterion holds, compared with the number in the paper; a case without records may hold."""

    name: str
    members: tuple[Criterion, ...]
    at_least: int

    @property
    def bound(self) -> str:
        """The bound in words."""
        return f"at least {self.at_least} of {len(self.members)}"

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The experiments of all cases."""
        return tuple(arm for member in self.members for arm in member.arms)

    def evaluate(self) -> Finding:
        """Count what holds and what can still hold."""
        found = [member.evaluate() for member in self.members]
        tried = [finding for finding in found if finding.result != NOT_RUN]
        if not tried:
            return Finding(NOT_RUN, seeds=(0,))
        holding, possible = (
            sum(finding.result in kinds for finding in found) for kinds in ((HOLDS,), (HOLDS, NOT_RUN))
        )
        possible += sum(finding.result == OPEN and not finding.interval for finding in found)
        result = HOLDS if holding >= self.at_least else FAILS if possible < self.at_least else OPEN
        return Finding(
            result,
            holding,
            (holding, possible),
            tuple(min(finding.seeds) for finding in found),
            tuple(sorted({device for finding in tried for device in finding.devices})),
            min(finding.share for finding in tried),
        )


def verdict(findings: Sequence[Finding]) -> str:
    """Return the verdict on a claim.

    - *reproduced*: all criteria hold, none of them in a smaller setting than the paper's;
    - *reproduced in part*: at least one holds;
    - *contradicted*: none holds, and at least one fails in a setting that is not smaller than the paper's;
    - *not run*: no criterion has records;
    - *undecided*: there are records, but they do not suffice for any of the above.
    """
    results = {finding.result for finding in findings}
    if results == {HOLDS} and not any(finding.smaller for finding in findings):
        return "reproduced"
    if HOLDS in results:
        return "reproduced in part"
    if any(finding.result == FAILS and not finding.smaller for finding in findings):
        return "contradicted"
    return "not run" if results == {NOT_RUN} else "undecided"


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
    name: str, experiment: str, key: str, paper: float = 0, at_least: float = -inf, at_most: float = inf
) -> Criterion:
    """Return a criterion on the mean of a metric of the test of one experiment."""
    return Criterion(name, (Arm(experiment, metric(key), paper),), at_least=at_least, at_most=at_most)


def less(
    name: str, pair: tuple[str, str], key: str, paper: float = 0, at_least: float = -inf, at_most: float = inf
) -> Criterion:
    """Return a criterion on the mean of a metric of the first experiment less that of the second."""
    arms = tuple(Arm(experiment, metric(key), paper) for experiment in pair)
    return Criterion(name, arms, difference, at_least, at_most)
