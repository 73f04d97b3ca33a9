"""Class of an arm (runs that differ in the seed only), and functions that form, name and compare arms by metrics."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lightning_coordconv.runtime.comparison.runs import Run, is_of_command_line
from lightning_coordconv.runtime.comparison.statistics import Values, bootstrap

SEEDS = {"seed", "seed_everything"}
"""Names of a seed, at the top level of a configuration."""
IGNORED = SEEDS | {
    "ckpt_path", "weights_only", "figures", "trainer.logger", "trainer.default_root_dir", "trainer.enable_progress_bar",
    "trainer.enable_model_summary", "data.num_workers", "data.seed",
}  # fmt: skip
"""Options of the command line that do not change what is learned, where its configurations have them."""
PATHS = {"class_path", "init_args"}
TIMES = {"seconds", "cpu_seconds"}
"""Metrics that differ between two runs that compute the same."""
NOT_SET = object()
"""What an option is that a configuration does not have, unlike one that is null."""
NAMED = 3
"""Options that the name of an arm shows at most."""


@dataclass
class Arm:
    """Runs that differ in their seed only, and older runs of the same seeds, which do not count."""

    name: str
    runs: list[Run]
    older: list[Run] = field(default_factory=list)

    @property
    def seeds(self) -> list[int]:
        """The known seeds."""
        return [run.seed for run in self.runs if run.seed is not None]

    def values(self, metric: str) -> Values:
        """Return the last values of a metric, of the runs that have it."""
        return np.array([run.metrics[metric] for run in self.runs if metric in run.metrics])

    def by_seed(self, metric: str) -> dict[int, float]:
        """Return the last values of a metric by seed."""
        return {run.seed: run.metrics[metric] for run in self.runs if run.seed is not None and metric in run.metrics}


def repeated(arms: Sequence[Arm]) -> list[list[Run]]:
    """Return the groups of runs of an arm that agree in all metrics and curves but times, as a run and its copy do."""
    groups: dict[str, list[Run]] = {}
    for arm in arms:
        for run in arm.runs:
            values = [sorted((name, kept[name]) for name in kept.keys() - TIMES) for kept in (run.metrics, run.curves)]
            groups.setdefault(repr((arm.name, values)), []).append(run)
    return [group for group in groups.values() if len(group) > 1]


def last_steps(arms: Sequence[Arm], metric: str) -> set[float]:
    """Return the steps at which runs have their last value of a metric of validation, as far as they have its curve."""
    curves = [run.curves[metric] for arm in arms for run in arm.runs if metric in run.curves]
    return set() if metric.startswith("test") else {max(curve) for curve in curves}


def of_other_steps(arms: Sequence[Arm]) -> list[Run]:
    """Return the runs whose curves are over optimiser steps, if others are over the steps that loggers write."""
    runs = [run for arm in arms for run in arm.runs if run.curves]
    other = [run for run in runs if not run.steps_are_logged]
    return other if len(other) < len(runs) else []


def gather(runs: Sequence[Run]) -> list[Arm]:
    """Return the arms of runs, in the order of their first runs, each with its runs in the order of their seeds.

    Runs are of one arm if they were found in the same given folder, have the same name, and their resolved
    configurations agree in all but the seed and options that change nothing that is learned. To equal names of arms the
    folders and the options in which they differ are added. Of runs of an arm with the same seed the one counts whose
    metrics were written last.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        key = [str(run.folder.resolve()), run.name, options_of(run)]
        groups.setdefault(json.dumps(key, sort_keys=True, default=str), []).append(run)
    arms = []
    for group in groups.values():
        newest = {
            run.seed if run.seed is not None else run.path: run for run in sorted(group, key=lambda run: run.written)
        }
        kept = sorted(newest.values(), key=lambda run: (run.seed is None, run.seed or 0))
        arms.append(Arm(group[0].name, kept, [run for run in group if run not in kept]))
    for add in (add_folders, add_options):
        for name in {arm.name for arm in arms}:
            same = [arm for arm in arms if arm.name == name]
            if len(same) > 1:
                add(same)
    return arms


def options_of(run: Run) -> dict[str, Any]:
    """Return the options of a run by their dotted names, without those that do not tell arms apart."""
    config = run.config or {}
    return flatten(config, IGNORED if is_of_command_line(config) else SEEDS)


def flatten(config: Any, ignored: Collection[str] = (), prefix: str = "") -> dict[str, Any]:
    """Return the options of a configuration by their dotted names, but for some.

    >>> flatten({"model": {"class_path": "A", "init_args": {"lr": 0.1, "seed": 1}}, "seed": 3}, {"seed"})
    {'model': 'A', 'model.lr': 0.1, 'model.seed': 1}
    """
    options: dict[str, Any] = {}
    for key, value in config.items():
        name = prefix if key in PATHS else f"{prefix}.{key}".lstrip(".")
        if name in ignored:
            continue
        if isinstance(value, dict):
            options |= flatten(value, ignored, name)
        else:
            options[name] = int(value) if isinstance(value, float) and value.is_integer() else value  # 1.0 equals 1
    return options


def add_folders(arms: Sequence[Arm]) -> None:
    """Begin the names of arms with the given folders that they were found in, if those differ."""
    folders = [arm.runs[0].folder for arm in arms]
    if len({folder.resolve() for folder in folders}) > 1:
        for arm, folder in zip(arms, folders, strict=True):
            inside = f"/{folder.as_posix()}".endswith(f"/{arm.name}")
            arm.name = folder.as_posix() if inside else f"{folder.as_posix()}/{arm.name}"


def add_options(arms: Sequence[Arm]) -> None:
    """Add to the names of arms the options in which they differ, and numbers if that is not enough."""
    options = [options_of(arm.runs[0]) for arm in arms]
    keys = sorted(set().union(*options))
    differing = [key for key in keys if len({repr(option.get(key, NOT_SET)) for option in options}) > 1]
    for arm, option in zip(arms, options, strict=True):
        shown = [f"{key}={as_text(option[key])}" if key in option else f"{key} not set" for key in differing[:NAMED]]
        more = [f"and {len(differing) - NAMED} more"] if len(differing) > NAMED else []
        arm.name += f" ({', '.join([*shown, *more])})" if shown else ""
    for number, arm in enumerate(arms):
        if [other.name for other in arms].count(arm.name) > 1:
            arm.name += f" {number}"


def as_text(value: Any) -> str:
    """Return an option's value, a float with four significant digits, no value as YAML writes it."""
    return "null" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def default_metrics(arms: Sequence[Arm]) -> list[str]:
    """Return the metrics that a run of any arm has: those of tests if there are any, or else of validation."""
    names = sorted({name for arm in arms for run in arm.runs for name in run.metrics})
    chosen: list[str] = []
    for prefix in ("test/", "test", "val", ""):
        chosen = chosen or [name for name in names if name.startswith(prefix)]
    return chosen


def interval(values: Values) -> tuple[float, float] | None:
    """Return a 95 % bootstrap interval of the mean; None for fewer than two values, or one that is not finite."""
    usable = len(values) > 1 and np.isfinite(values).all()
    return bootstrap([values], lambda some: some.mean(0)) if usable else None


def differences(arm: Arm, baseline: Arm, metric: str) -> Values:
    """Return the differences of a metric to that of a baseline, for each seed that both have."""
    ours, theirs = arm.by_seed(metric), baseline.by_seed(metric)
    return np.array([ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())])
