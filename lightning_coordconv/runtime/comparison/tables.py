"""Row class and functions for Markdown and CSV tables of compared runs: means over seeds, differences to a baseline."""

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

from lightning_coordconv.core.counts import count, listed
from lightning_coordconv.runtime.comparison.arms import Arm, differences, interval, last_steps, of_other_steps, repeated
from lightning_coordconv.runtime.comparison.statistics import CONFIDENCE, Values


@dataclass(frozen=True)
class Row:
    """A mean over seeds: of a metric of an arm, or of its difference to a baseline."""

    arm: str
    baseline: str
    metric: str
    seeds: int
    mean: float | None
    low: float | None
    high: float | None
    values: str

    @property
    def cell(self) -> str:
        """The mean and its interval as text."""
        if self.mean is None:
            return ""
        ends = "" if self.low is None or self.high is None else f" ({self.low:.4g} to {self.high:.4g})"
        return f"{self.mean:.4g}{ends}"


def make_row(arm: str, baseline: str, metric: str, values: Values) -> Row:
    """Return the row of some values."""
    low, high = interval(values) or (None, None)
    mean = float(values.mean()) if len(values) else None
    texts = " ".join(f"{value:.15g}" for value in values)
    return Row(arm, baseline, metric, len(values), mean, low, high, texts)


def make_rows(arms: Sequence[Arm], metrics: Sequence[str], baseline: Arm) -> list[Row]:
    """Return a row for each arm and metric, and for each difference to the baseline."""
    rows = [make_row(arm.name, "", metric, arm.values(metric)) for arm in arms for metric in metrics]
    return rows + [
        make_row(arm.name, baseline.name, metric, differences(arm, baseline, metric))
        for arm in arms
        if arm is not baseline
        for metric in metrics
    ]


def to_markdown(arms: Sequence[Arm], metrics: Sequence[str], baseline: Arm) -> str:
    """Return the table of arms, that of differences if there is more than one arm, and what the numbers are."""
    rows = make_rows(arms, metrics, baseline)
    cells = {(row.arm, row.baseline, row.metric): row for row in rows}
    heads = " | ".join(map(escaped, metrics))
    lines = [f"| arm | seeds | {heads} |", "|---|---|" + "---|" * len(metrics)]
    for arm in arms:
        texts = texts_of([cells[arm.name, "", metric] for metric in metrics], len(arm.runs), "run")
        seeds = ", ".join(map(str, arm.seeds)) if len(arm.seeds) == len(arm.runs) else count(len(arm.runs), "run")
        lines.append(f"| {escaped(arm.name)} | {seeds} | {' | '.join(texts)} |")
    if len(arms) > 1:
        lines += [
            "",
            f"| difference to {escaped(baseline.name)} | pairs | {heads} |",
            "|---|---:|" + "---|" * len(metrics),
        ]
        for arm in arms:
            if arm is not baseline:
                found = [cells[arm.name, baseline.name, metric] for metric in metrics]
                pairs = max(row.seeds for row in found)
                both = [len(arm.values(metric)) > 0 < len(baseline.values(metric)) for metric in metrics]
                texts = [
                    text or ("no seed in common" if shared else "")
                    for text, shared in zip(texts_of(found, pairs, "pair"), both, strict=True)
                ]
                lines.append(f"| {escaped(arm.name)} | {pairs} | {' | '.join(texts)} |")
    return "\n".join([*lines, "", *notes(arms, metrics)])


def escaped(text: str) -> str:
    """Return a text for a cell of a Markdown table."""
    return text.replace("|", "\\|")


def texts_of(rows: Sequence[Row], most: int, what: str) -> list[str]:
    """Return the cells of rows, and of how many runs or pairs they are, where those are fewer than the most."""
    return [row.cell + (f", {count(row.seeds, what)}" if 0 < row.seeds < most else "") for row in rows]


def notes(arms: Sequence[Arm], metrics: Sequence[str]) -> list[str]:
    """Return what the numbers of the tables are, which runs they leave out, and which runs are alike or shorter."""
    lines = [
        "Values of one run each: an interval needs at least two seeds."
        if max(len(arm.runs) for arm in arms) < 2
        else f"Means over seeds with {CONFIDENCE:.0%} percentile bootstrap intervals; differences are paired by seed. "
        "With fewer than ten seeds such intervals are too narrow."
    ]
    if {"val", "test"} <= {metric.partition("/")[0] for metric in metrics}:
        lines += ["", "Validation is the last of a run; a test is of the weights that it loaded, of `fit` the best."]
    older = [f"{run.path} (seed {run.seed})" for arm in arms for run in arm.older]
    if older:
        lines += ["", f"Not counted: {count(len(older), 'run')} with a newer run of the same seed: {', '.join(older)}."]
    for group in repeated(arms):
        paths = ", ".join(str(run.path) for run in group)
        alike = f"{len(group)} runs have the same values of all metrics (copies, or a seed without effect)"
        lines += ["", f"{alike}: {paths}."]
    if other := of_other_steps(arms):
        named = listed("Runs of an older version with curves over optimiser steps", [run.path for run in other])
        lines += ["", f"{named}. Those of the other runs are over the loggers' steps: they cannot be compared."]
    unequal: dict[tuple[float, float], list[str]] = {}
    for metric in metrics:
        steps = set() if other else last_steps(arms, metric)
        if len(steps) > 1:
            unequal.setdefault((min(steps), max(steps)), []).append(metric)
    for (first, last), names in unequal.items():
        lines += ["", f"The last values of {', '.join(names)} are of steps {first:g} to {last:g}."]
    return lines


def to_csv(rows: Sequence[Row]) -> str:
    """Return rows as CSV with a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(Row))
    writer.writerows(map(astuple, rows))
    return text.getvalue()
