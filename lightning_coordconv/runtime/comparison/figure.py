"""Functions that draw learning curves: the mean over seeds, its bootstrap interval, and each seed."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from lightning_coordconv.core.counts import count
from lightning_coordconv.core.pictures import legend_label, show_names
from lightning_coordconv.runtime.comparison.arms import Arm, of_other_steps
from lightning_coordconv.runtime.comparison.statistics import Values, bootstrap

Statistic = Callable[[Values], Values]
WIDTH, HEIGHT = 6, 4
"""Inches of a panel."""


def mean(values: Values) -> Values:
    """Return the mean over seeds."""
    return np.asarray(values.mean(0))


def draw_panels(
    panels: Mapping[str, Mapping[str, tuple[Values, Values]]], xlabel: str, statistic: Statistic = mean
) -> Figure:
    """Draw a panel for each metric, with a line for each arm, a band for its interval, and a thin line for each seed.

    Line and band are over the steps that all seeds have, a thin line over all steps of its seed.

    Args:
        panels: steps (points,) and values (seeds, points) of the arms by label, by the label of the metric. The value
            is NaN where a seed has none. An arm without seeds has only its label in the legend.
        xlabel: what steps are.
        statistic: of the values over seeds.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT * len(panels)))
    for axes, (metric, curves) in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels.items(), strict=True):
        for label, (steps, values) in curves.items():
            common = ~np.isnan(values).any(0) if len(values) else np.zeros(0, dtype=bool)
            mean_values = statistic(values[:, common]) if common.any() else np.zeros(0)
            (line,) = axes.plot(
                steps[common], mean_values, marker="o" if common.sum() == 1 else None, label=legend_label(label)
            )
            if len(values) > 1:
                if common.any():
                    band = bootstrap([values[:, common]], statistic)
                    axes.fill_between(steps[common], *band, alpha=0.2, color=line.get_color(), linewidth=0)
                for seed in values:
                    known = ~np.isnan(seed)
                    axes.plot(steps[known], seed[known], color=line.get_color(), alpha=0.3, linewidth=0.5)
        axes.set(xlabel=xlabel, ylabel=metric)
        show_names(axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False))  # beside the curves
    return figure


def draw(arms: Sequence[Arm], metrics: Sequence[str]) -> Figure:
    """Draw the curves of metrics; for a metric of a test, those of validation.

    Lines below it name metrics without curves, and say if the steps of some runs are not those of others.

    Raises:
        ValueError: if no arm has a curve of any of the metrics.
    """
    names = [f"val/{metric.removeprefix('test/')}" if metric.startswith("test/") else metric for metric in metrics]
    panels, missing = {}, []
    for name in dict.fromkeys(names):
        curves = {arm.name: curves_of(arm, name) for arm in arms}
        if any(len(values) for _, values in curves.values()):
            panels[name] = {f"{arm}, seeds: {len(values)}": (steps, values) for arm, (steps, values) in curves.items()}
        else:
            missing.append(name)
    if not panels:
        raise ValueError(f"the runs have no curves of {', '.join(names)}, so there is nothing to draw")
    figure = draw_panels(panels, "step")
    lines = [f"no curves of {', '.join(missing)}"] if missing else []
    if other := of_other_steps(arms):
        runs = count(len(other), "run")
        lines.append(f"not comparable: {runs} over optimiser steps, the others over the loggers' steps")
    if lines:
        figure.supxlabel("\n".join(lines), y=0, fontsize="small", verticalalignment="top")
    return figure


def curves_of(arm: Arm, metric: str) -> tuple[Values, Values]:
    """Return the steps that any run of an arm has, and the values (seeds, points): NaN where a run has none."""
    curves = [run.curves[metric] for run in arm.runs if run.curves.get(metric)]
    steps = sorted(set().union(*curves))
    values = [[curve.get(step, np.nan) for step in steps] for curve in curves]
    return np.array(steps, dtype=float), np.array(values, dtype=float).reshape(len(curves), len(steps))
