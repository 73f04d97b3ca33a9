"""Tabulates and draws agents' learning curves, with intervals over seeds: ``python -m benchmarks.curves EXPERIMENT``.

It reads the summaries of runs that ``benchmarks.results`` collects. The mean over seeds is the interquartile mean,
which neither a lucky nor an unlucky seed moves much, with 95 % intervals from a bootstrap over seeds (Agarwal et al.,
2021, "Deep reinforcement learning at the edge of the statistical precipice"). With few seeds the intervals are wide,
and rightly so. The package ``rliable`` of that paper computes the same: its version 1.2 installs beside NumPy 2, with
eight more packages, but its import fails beside pandas 3 (``arch`` 7.2 calls a function of pandas that has changed).
"""

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lightning_coordconv.runtime.comparison.figure import draw_panels
from lightning_coordconv.runtime.comparison.statistics import bootstrap

Curve = NDArray[np.float64]
Run = dict[str, Any]

EVALUATION = "val/reward"
TRAINING = "val/training_reward"
"""The mean of the last hundred episodes of training, at each evaluation: of more episodes than are evaluated."""


def interquartile_mean(values: Curve) -> Curve:
    """Return the mean of the middle half along the first axis; a value that straddles a quartile counts in part.

    >>> interquartile_mean(np.array([0.0, 1.0, 2.0, 100.0])).item()
    1.5
    """
    ordered = np.sort(values, axis=0)
    n = len(ordered)
    edges = np.clip(np.arange(n + 1), n / 4, 3 * n / 4)
    return np.tensordot(np.diff(edges) / (n / 2), ordered, axes=1)


def interval(values: Curve) -> tuple[Curve, Curve]:
    """Return the ends of a 95 % percentile bootstrap interval of the interquartile mean of values (seeds, ...)."""
    return bootstrap([values], interquartile_mean)


def curves(runs: list[Run], metric: str) -> tuple[Curve, Curve]:
    """Return the environment steps (points,) at which all runs were evaluated, and their rewards (seeds, points)."""
    rewards = [{row["val/timesteps"]: row[metric] for row in run["curve"] if metric in row} for run in runs]
    rewards = [{step: reward for step, reward in run.items() if not math.isnan(reward)} for run in rewards]
    steps = sorted(set.intersection(*map(set, rewards)))
    return np.array(steps), np.array([[run[step] for step in steps] for run in rewards])


def row(experiment: str, runs: list[Run], metric: str) -> str:
    """Return the row of an experiment: the end of its curve, the area under it, and every seed."""
    steps, rewards = curves(runs, metric)
    cells = [f"`{experiment}`", f"{runs[0]['weights']:,}", f"{steps[-1]:,.0f}"]
    for values in (rewards[:, -1], rewards.mean(1)):
        low, high = interval(values)
        cells.append(f"{interquartile_mean(values):.2f} ({low:.2f} to {high:.2f})")
    cells.append(", ".join(f"{run['test']['test/reward']:.2f}" for run in runs))
    cells.append(f"{np.median([run['cpu_seconds'] for run in runs]):,.0f}")
    return "| " + " | ".join(cells) + " |"


def table(experiments: Mapping[str, list[Run]], metric: str = EVALUATION) -> str:
    """Return a table of the experiments that have runs."""
    rows = [row(experiment, runs, metric) for experiment, runs in experiments.items() if runs]
    header = [
        "| experiment | weights | environment steps | last reward | reward over the run | test reward, seed by seed "
        "| CPU seconds |",
        "|---|---:|---:|---|---|---|---:|",
    ]
    return "\n".join(header + rows) if rows else "Not run yet."


def draw(experiments: Mapping[str, list[Run]], metric: str = EVALUATION) -> Figure:
    """Draw a curve with its interval for each experiment, and each seed faintly."""
    lines = {f"{experiment}, seeds: {len(runs)}": curves(runs, metric) for experiment, runs in experiments.items()}
    return draw_panels({"reward of an episode": lines}, "environment steps", interquartile_mean)


def main() -> None:
    """Print the table and draw the figure."""
    from benchmarks.results import runs_of  # which writes tables of this module

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiments", nargs="+", help="such as rl/find_and_touch_coordconv")
    parser.add_argument("--metric", choices=[EVALUATION, TRAINING], default=EVALUATION)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    experiments = {name: runs_of(name) for name in arguments.experiments}
    print(table(experiments, arguments.metric))
    if arguments.figure:
        draw(experiments, arguments.metric).savefig(arguments.figure, dpi=120, bbox_inches="tight")


if __name__ == "__main__":
    main()
