"""Draws learning curves: the mean over seeds, its bootstrap interval, and each seed."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from lightning_coordconv.runtime.comparison.arms import Arm
from lightning_coordconv.runtime.comparison.statistics import Values, bootstrap

Statistic = Callable[[Values], Values]
WIDTH, HEIGHT, PANELS = 6, 4, 6
"""Inches of a panel, and panels of a figure at most."""


def mean(values: Values) -> Values:
    """Return the mean over seeds."""
    return np.asarray(values.mean(0))


def draw_panels(
    panels: Mapping[str, Mapping[str, tuple[Values, Values]]], xlabel: str, statistic: Statistic = mean
) -> Figure:
    """Draw a panel for each metric, with a line for each arm, a band for its interval, and a thin line for each seed.

    Args:
        panels: steps (points,) and values (seeds, points) of the arms by label, by the label of the metric.
        xlabel: what steps are.
        statistic: of the values over seeds.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT * len(panels)), layout="constrained")
    for axes, (metric, curves) in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels.items(), strict=True):
        for label, (steps, values) in curves.items():
            (line,) = axes.plot(steps, statistic(values), label=label)
            if len(values) > 1:
                axes.fill_between(
                    steps, *bootstrap([values], statistic), alpha=0.2, color=line.get_color(), linewidth=0
                )
                axes.plot(steps, values.T, color=line.get_color(), alpha=0.3, linewidth=0.5)
        axes.set(xlabel=xlabel, ylabel=metric)
        axes.legend()
    return figure


def draw(arms: Sequence[Arm], metrics: Sequence[str]) -> Figure:
    """Draw the curves of metrics; for a metric of a test, those of validation.

    Raises:
        ValueError: if no arm has a curve of any of the metrics.
    """
    names = [f"val/{metric.removeprefix('test/')}" if metric.startswith("test/") else metric for metric in metrics]
    panels = {}
    for name in names:
        curves = {f"{arm.name}, seeds: {len(arm.runs)}": curve for arm in arms if (curve := common_curve(arm, name))}
        if curves:
            panels[name] = curves
    if not panels:
        raise ValueError(f"the runs have no curves of {', '.join(names)}, so there is nothing to draw")
    return draw_panels(dict(list(panels.items())[:PANELS]), "step")


def common_curve(arm: Arm, metric: str) -> tuple[Values, Values] | None:
    """Return the steps that all runs of an arm have, and their values (seeds, points); None without any."""
    curves = [run.curves[metric] for run in arm.runs if metric in run.curves]
    steps = sorted(set.intersection(*map(set, curves))) if curves else []
    return (np.array(steps), np.array([[curve[step] for step in steps] for curve in curves])) if steps else None
