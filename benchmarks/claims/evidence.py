"""Classes that compare results of runs with bounds from the paper, and functions that derive a claim's verdict.

A criterion compares a quantity, computed from the records of one or more experiments, with a bound from the paper. It

- *holds* if the whole 95 % bootstrap interval over seeds is within the bound;
- *fails* if the whole interval is outside of it;
- is *open* if the bound is inside the interval, or if an experiment has fewer than ``MIN_SEEDS`` seeds;
- is *not run* if an experiment has no record.

A criterion is measured *in a smaller setting* if an experiment trained on fewer images than the paper's or took fewer
optimiser steps (for agents: environment steps). :func:`verdict` makes the verdict of a claim from its criteria.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, NamedTuple

import numpy as np

from benchmarks.claims.records import MIN_SEEDS, Run, lengths, records
from lightning_coordconv.runtime.comparison.statistics import Values, bootstrap

HOLDS, FAILS, OPEN, NOT_RUN = "holds", "fails", "open", "not run"
VERDICTS = ("reproduced", "reproduced in part", "contradicted", "undecided", "not run")


def number(value: float) -> str:
    """Return an integer with all digits, another number with three decimals or three or more significant digits.

    >>> [number(value) for value in (1.0, 0.99996, 0.01234, 0.001234, 42.12, 376.2, 1500.0, -0.0352, 0.0, 6)]
    ['1.000', '1.000', '0.012', '0.00123', '42.1', '376', '1,500', '-0.035', '0.000', '6']
    """
    if isinstance(value, int):
        return f"{value:,}"
    if 0 < abs(value) < 0.01:
        return f"{value:.3g}"
    return f"{value:,.{0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 3}f}"


@dataclass(frozen=True)
class Arm:
    """An experiment, and what is read from each of its records.

    Args:
        experiment: its name.
        read: returns the value of a record.
        paper: how long the paper's run trained, by unit as in :func:`~benchmarks.claims.records.lengths`; empty where
            a shorter training cannot change the result.
        label: what the arm is called where a criterion has two.
    """

    experiment: str
    read: Callable[[Run], float]
    paper: Mapping[str, float] = field(default_factory=dict)
    label: str = ""


class Finding(NamedTuple):
    """What was measured for a criterion."""

    result: str
    value: float = float("nan")
    interval: tuple[float, float] | None = None
    seeds: tuple[int, ...] = ()
    devices: tuple[str, ...] = ()
    shares: tuple[tuple[str, float], ...] = ()
    """Of the paper's training, by unit, the least over all runs; at most 1."""
    detail: str = ""
    """Values and seeds of the arms."""
    case: str = ""
    """Which of several criteria it is, where the most favourable is chosen."""

    @property
    def smaller(self) -> bool:
        """Whether the setting is smaller than the paper's."""
        return any(share < 1 for _, share in self.shares)


@dataclass(frozen=True)
class Criterion:
    """A quantity and its bounds.

    Args:
        name: what the quantity is.
        arms: the experiments that it is computed from.
        statistic: takes an array (seeds,) for each arm.
        centre: makes the value of one arm from an array (seeds,).
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
    centre: Callable[..., Any] = np.mean

    @property
    def bound(self) -> str:
        """The bounds in words."""
        ends = [("at least", self.at_least), ("at most", self.at_most)]
        return " and ".join(f"{word} {end:,.10g}" for word, end in ends if np.isfinite(end))

    def evaluate(self) -> Finding:
        """Compare the records with the bounds."""
        runs = [records(arm.experiment) for arm in self.arms]
        seeds = tuple(map(len, runs))
        values = [np.array([arm.read(run) for run in found]) for arm, found in zip(self.arms, runs, strict=True)]
        detail = "; ".join(itertools.starmap(self.describe, zip(self.arms, values, strict=True))) if any(seeds) else ""
        if not all(seeds):
            return Finding(NOT_RUN, seeds=seeds, detail=detail)
        value = float(self.statistic(*values))
        interval = None
        if self.exact:
            interval = (value, value)
        elif min(seeds) >= MIN_SEEDS:
            low, high = bootstrap(values, self.statistic)
            interval = (float(low), float(high))
        shares: dict[str, float] = {}
        for arm, found in zip(self.arms, runs, strict=True):
            for run, (unit, whole) in itertools.product(found, arm.paper.items()):
                shares[unit] = min(shares.get(unit, 1), lengths(arm.experiment, run)[unit] / whole)
        return Finding(
            OPEN if interval is None else self.compare(*interval),
            value,
            interval,
            seeds,
            tuple(sorted({run.get("device", "cpu") for found in runs for run in found})),
            tuple(shares.items()),
            detail,
        )

    def describe(self, arm: Arm, values: Values) -> str:
        """Return the number of seeds of an arm, after its value if there are two arms."""
        count = f"{len(values)} seed{'' if len(values) == 1 else 's'}"
        if len(self.arms) == 1:
            return count
        return f"{arm.label} {number(float(self.centre(values)))}, {count}" if len(values) else f"{arm.label} {count}"

    def compare(self, low: float, high: float) -> str:
        """Return the result for an interval."""
        if self.at_least <= low and high <= self.at_most:
            return HOLDS
        return FAILS if high < self.at_least or low > self.at_most else OPEN


@dataclass(frozen=True)
class Best:
    """The most favourable of several criteria with the same bounds.

    Those with enough seeds are compared: what holds goes before what is open, and that before what fails; then the
    greatest value is chosen. Of those that hold, one in the paper's setting goes before one in a smaller setting.
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

        def rank(finding: Finding) -> tuple[int, bool, float]:
            return order.index(finding.result), finding.result == HOLDS and finding.smaller, -finding.value

        return min(tried, key=rank)


@dataclass(frozen=True)
class Count:
    """In how many games a criterion holds, compared with the number in the paper; a game without records may hold."""

    name: str
    members: tuple[Criterion, ...]
    at_least: int

    @property
    def bound(self) -> str:
        """The bound in words."""
        return f"at least {self.at_least} of {len(self.members)}"

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The experiments of all games."""
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
        counts = sorted({str(min(finding.seeds)) for finding in tried})
        result = HOLDS if holding >= self.at_least else FAILS if possible < self.at_least else OPEN
        return Finding(
            result,
            holding,
            (holding, possible),
            tuple(min(finding.seeds) for finding in found),
            tuple(sorted({device for finding in tried for device in finding.devices})),
            min(finding.shares for finding in tried),
            f"better in {holding} of {len(tried)} games played, {' or '.join(counts)} seeds each; "
            f"{len(found) - len(tried)} not played",
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


def tally(findings: Sequence[Finding]) -> str:
    """Return how many criteria have each result.

    >>> tally([Finding(HOLDS), Finding(FAILS), Finding(FAILS)])
    '1 of 3 holds, 2 fail'
    >>> tally([Finding(OPEN), Finding(FAILS), Finding(NOT_RUN)])
    '0 of 3 hold, 1 fails, 1 is open, 1 is not run'
    """
    results = [finding.result for finding in findings]
    words = {FAILS: ("fails", "fail"), OPEN: ("is open", "are open"), NOT_RUN: ("is not run", "are not run")}
    parts = [f"{results.count(HOLDS)} of {len(results)} hold{'s' if results.count(HOLDS) == 1 else ''}"]
    parts += [f"{count} {words[kind][count > 1]}" for kind in words if (count := results.count(kind))]
    return ", ".join(parts)
