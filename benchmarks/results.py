"""Write the results tables of ``configs/README.md`` from the summaries of runs: ``python -m benchmarks.results``.

``python -m benchmarks.results --collect LOGS`` first copies each run's ``summary.json`` below a folder of logs to
``benchmarks/results/runs/``, one file an experiment and seed; a later run replaces an earlier one.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

RUNS = Path(__file__).parent / "results" / "runs"
PAGE = Path(__file__).parents[1] / "configs" / "README.md"
Run = dict[str, Any]


def collect(logs: Path) -> None:
    """Copy the summaries of finished runs."""
    for path in sorted(logs.rglob("summary.json"), key=lambda path: path.stat().st_mtime):
        run = json.loads(path.read_text())
        if run.get("test") and run.get("steps"):
            target = RUNS / run["experiment"] / f"seed{run['seed']}.json"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(json.dumps(run) + "\n")
            print(target)


def runs_of(experiment: str) -> list[Run]:
    """Return the runs of an experiment in the order of their seeds."""
    runs = [json.loads(path.read_text()) for path in (RUNS / experiment).glob("seed*.json")]
    return sorted(runs, key=lambda run: run["seed"])


def spread(values: Iterable[float], digits: int) -> str:
    """Return the mean with its standard deviation, then the least and the greatest value."""
    values = list(values)
    mean = f"{statistics.fmean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    deviation, ends = statistics.stdev(values), (min(values), max(values))
    return f"{mean} ± {deviation:.{digits}f} ({ends[0]:.{digits}f} to {ends[1]:.{digits}f})"


def plateau(run: Run, metric: str, best: Callable[[Iterable[float]], float], slack: float) -> Run:
    """Return the first row of a run's curve whose metric is as good as its best, to within a slack."""
    curve = [row for row in run["curve"] if metric in row]
    top = best(row[metric] for row in curve)
    return next(row for row in curve if abs(row[metric] - top) <= slack)


def table(experiments: list[str], metric: str, digits: int, slack: float, lower: bool = False) -> str:
    """Return a table, a row for each experiment that has runs."""
    lines = [
        f"| experiment | weights | seeds | held-out {metric} | training {metric} | steps to plateau | "
        "seconds to plateau | device |",
        "|---|---:|---|---|---|---:|---:|---|",
    ]
    for experiment in experiments:
        runs = runs_of(experiment)
        if not runs:
            continue
        plateaus = [plateau(run, f"val/{metric}", min if lower else max, slack) for run in runs]
        steps = statistics.median(row["step"] for row in plateaus)
        seconds = [row["seconds"] for row in plateaus]
        fitted = [run["test"][f"test_train/{metric}"] for run in runs if f"test_train/{metric}" in run["test"]]
        lines.append(
            f"| `{experiment}` | {runs[0]['weights']:,} | {', '.join(str(run['seed']) for run in runs)} | "
            f"{spread((run['test'][f'test/{metric}'] for run in runs), digits)} | "
            f"{spread(fitted, digits) if fitted else ''} | {steps:,.0f} | "
            f"{statistics.median(seconds):,.1f} (at most {max(seconds):,.1f}) | "
            f"{runs[0]['device']}, {runs[0]['threads']} thread{'s' if runs[0]['threads'] > 1 else ''} |"
        )
    return "\n".join(lines)


def ratios(pairs: list[tuple[str, str]], metric: str, slack: float) -> str:
    """Return a table of how much more the second experiment of each pair takes than the first."""
    lines = ["| against | weights | steps to plateau | seconds to plateau |", "|---|---:|---:|---:|"]
    for ours, theirs in pairs:
        if not (runs_of(ours) and runs_of(theirs)):
            continue
        medians = [
            [statistics.median(plateau(run, f"val/{metric}", max, slack)[key] for run in runs_of(name)) for key in KEYS]
            for name in (ours, theirs)
        ]
        weights = runs_of(theirs)[0]["weights"] / runs_of(ours)[0]["weights"]
        steps, seconds = (b / a for a, b in zip(*medians, strict=True))
        lines.append(f"| `{theirs}` / `{ours}` | {weights:.0f}x | {steps:.0f}x | {seconds:.0f}x |")
    return "\n".join(lines)


KEYS = ("step", "seconds")
