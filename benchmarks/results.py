"""Collects summaries of runs, and writes the results tables of ``configs/README.md``: ``python -m benchmarks.results``.

``python -m benchmarks.results --collect LOGS`` first copies the ``summary.json`` of each run below a folder of logs to
``benchmarks/results/runs/<experiment>/seed<seed>.json``; a later run replaces an earlier one.
"""

import argparse
import itertools
import json
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks import atari, curves, deconv_grid, detection_verdict
from benchmarks.pages import fill

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
    """Return the mean, the standard deviation, and the least and the greatest value, as text."""
    values = [round(value, 6) + 0.0 for value in values]  # a share of 0 can be -1e-8
    mean = f"{statistics.fmean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    deviation, ends = statistics.stdev(values), (min(values), max(values))
    return f"{mean} ± {deviation:.{digits}f} ({ends[0]:.{digits}f} to {ends[1]:.{digits}f})"


def plateau(run: Run, metric: str, best: Callable[[Iterable[float]], float], slack: float) -> Run:
    """Return the first row of a run's curve whose metric is within ``slack`` of the run's best."""
    curve = [row for row in run["curve"] if metric in row]
    top = best(row[metric] for row in curve)
    return next(row for row in curve if abs(row[metric] - top) <= slack)


def table(experiments: list[str], metric: str, digits: int, slack: float, lower: bool = False) -> str:
    """Return a table with a row for each experiment that has runs."""
    lines = [
        f"| experiment | weights | seeds | held-out {metric} | training {metric} | steps to plateau | "
        "seconds to plateau | CPU seconds | device |",
        "|---|---:|---|---|---|---:|---:|---:|---|",
    ]
    for experiment in experiments:
        runs = runs_of(experiment)
        if not runs:
            continue
        plateaus = [plateau(run, f"val/{metric}", min if lower else max, slack) for run in runs if run["curve"]]
        steps, seconds, cpu = "", "", ""
        if plateaus:
            times = [row["seconds"] for row in plateaus]
            steps = f"{statistics.median(row['step'] for row in plateaus):,.0f}"
            seconds = f"{statistics.median(times):,.1f} (at most {max(times):,.1f})"
            counted = [row["cpu_seconds"] for row in plateaus if "cpu_seconds" in row]
            cpu = f"{statistics.median(counted):,.1f}" if counted else ""
        fitted = [run["test"][f"test_train/{metric}"] for run in runs if f"test_train/{metric}" in run["test"]]
        lines.append(
            f"| `{experiment}` | {runs[0]['weights']:,} | {', '.join(str(run['seed']) for run in runs)} | "
            f"{spread((run['test'][f'test/{metric}'] for run in runs), digits)} | "
            f"{spread(fitted, digits) if fitted else ''} | {steps} | {seconds} | {cpu} | "
            f"{runs[0]['device']}, {runs[0]['threads']} thread{'s' if runs[0]['threads'] > 1 else ''} |"
        )
    return "\n".join(lines) if len(lines) > 2 else "Not run yet."


def ratios(pairs: list[tuple[str, str]], metric: str, slack: float) -> str:
    """Return a table of what the second experiment of each pair costs, in multiples of the first."""
    lines = ["| against | weights | steps to plateau | CPU seconds to plateau |", "|---|---:|---:|---:|"]
    for ours, theirs in pairs:
        if runs_of(ours) and runs_of(theirs):
            costs = zip(cost(ours, metric, slack), cost(theirs, metric, slack), strict=True)
            ratio = [f"{b / a:.0f}x" if a and b else "" for a, b in costs]
            lines.append(f"| `{theirs}` / `{ours}` | {' | '.join(ratio)} |")
    return "\n".join(lines)


def cost(experiment: str, metric: str, slack: float) -> tuple[float, float, float | None]:
    """Return the number of weights, the median steps and the median CPU seconds to the plateau, if measured."""
    runs = runs_of(experiment)
    rows = [plateau(run, f"val/{metric}", max, slack) for run in runs]
    counted = [row["cpu_seconds"] for row in rows if "cpu_seconds" in row]
    steps = statistics.median(row["step"] for row in rows)
    return runs[0]["weights"], steps, statistics.median(counted) if counted else None


def paper_regressor() -> str:
    """Return a table of how often the paper's regressor succeeds, measured by ``benchmarks.paper_regressor``."""
    lines = [
        "| partition | seeds | below 0.5 pixels after 100 epochs | ever below | held-out pixels, seed by seed |",
        "|---|---:|---:|---:|---|",
    ]
    found = json.loads((RUNS.parent / "paper_regressor.json").read_text())
    for partition in ("uniform", "quadrant"):
        runs = [run for run in found if run["partition"] == partition]
        solved = sum(run["test"] < 0.5 for run in runs)
        ever = sum(run["first_below_half_a_pixel"] is not None for run in runs)
        errors = ", ".join(f"{run['test']:.1f}" for run in runs)
        lines.append(f"| {partition} | {len(runs)} | {solved} | {ever} | {errors} |")
    return "\n".join(lines)


PROPOSALS = {
    "IoU of the best-scored box": "test/best_iou",
    "of ten boxes, with the closest digit": "test/closest_iou",
    "of all pairs": "test/all_pairs_iou",
    "of sampled positives, in training": "train/positive_iou",
}


def proposals(*variants: str) -> str:
    """Return a table of the region-proposal experiments that have runs; in each variant conv comes before CoordConv."""
    heads = ("experiment", "weights", "seeds", *PROPOSALS, "CPU seconds")
    lines = [f"| {' | '.join(heads)} |", "|---|---:|---|---|---|---|---|---:|"]
    gains = []
    for variant in variants:
        best = {}
        for arm in ("conv", "coordconv"):
            experiment = f"detection/proposals_{arm}{variant}"
            runs = runs_of(experiment)
            if not runs:
                continue
            cells = [
                f"`{experiment}`",
                f"{runs[0]['weights']:,}",
                ", ".join(str(run["seed"]) for run in runs),
                *(spread((run[name.split("/")[0]][name] for run in runs), 3) for name in PROPOSALS.values()),
                f"{statistics.median(run['cpu_seconds'] for run in runs):.0f}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
            best[arm] = statistics.fmean(run["test"]["test/best_iou"] for run in runs)
        if len(best) == 2:
            gain = 100 * (best["coordconv"] / best["conv"] - 1)
            gains.append(f"IoU of the best-scored box with CoordConv, `proposals_*{variant}`: {gain:+.1f} %.")
    return "\n".join(lines + ([""] if gains else []) + gains) if len(lines) > 2 else "Not run yet."


def measures(experiments: list[str], metrics: dict[str, str], digits: int = 2) -> str:
    """Return a table of several test metrics; for generators, below a row with the metrics of real images.

    Args:
        experiments: a row for each of them that has runs.
        metrics: headings by the metric of the test; the real images' is called ``data_<metric>``, where there is one.
        digits: after the decimal point.
    """
    lines = [
        f"| experiment | weights | seeds | {' | '.join(metrics.values())} | CPU seconds | device |",
        "|---|---:|---|" + "---|" * len(metrics) + "---:|---|",
    ]
    real: dict[str, list[float]] = {metric: [] for metric in metrics}
    for experiment in experiments:
        runs = runs_of(experiment)
        if not runs:
            continue
        for run, metric in itertools.product(runs, metrics):
            real[metric] += [run["test"][key] for key in (f"test/data_{metric}",) if key in run["test"]]
        columns = [spread((run["test"][f"test/{metric}"] for run in runs), digits) for metric in metrics]
        lines.append(
            f"| `{experiment}` | {runs[0]['weights']:,} | {', '.join(str(run['seed']) for run in runs)} | "
            f"{' | '.join(columns)} | {statistics.median(run['cpu_seconds'] for run in runs):,.0f} | "
            f"{runs[0]['device']}, {runs[0]['threads']} thread{'s' if runs[0]['threads'] > 1 else ''} |"
        )
    if len(lines) == 2:
        return "Not run yet."
    if any(real.values()):
        row = " | ".join(f"{statistics.fmean(values):.2f}" if values else "" for values in real.values())
        lines.insert(2, f"| real images |  |  | {row} |  |  |")
    return "\n".join(lines)


def coordinates(task: str, *arms: str) -> list[str]:
    """Return the experiments of a coordinate task, for each arm one per partition."""
    return [f"coordinates/{task}_{partition}_{arm}" for arm in arms for partition in ("uniform", "quadrant")]


def against_deconv(task: str) -> list[tuple[str, str]]:
    """Return the pairs of experiments of a task whose costs are compared."""
    return [(experiment.partition("_deconv")[0] + "_coordconv", experiment)
            for experiment in coordinates(task, *DECONVOLUTIONS)]  # fmt: skip


DECONVOLUTIONS = ("deconv", "deconv_l2", "deconv_wide_l2")
"""Arms of coordinate classification that are points of the paper's grid."""
CLASSIFIERS = ("coordconv", "coordconv_paper", *DECONVOLUTIONS)
CONTROLS = ("coordconv_constants", "deconv_coordinates", "deconv_upsample", "deconv_upsample_coordinates")
ENTROPIES = {f"entropy_{name}": f"entropy, {name}" for name in ("red", "blue", "difference")}
GAN_ARMS = (
    "conv",
    "coordconv",
    "conv_binary_latents",
    "coordconv_binary_latents",
    "coordconv_long",
    "coordconv_in_g",
    "coordconv_constants",
    "conv_coordinates",
    "conv_coordinates_in_g",
    "conv_coordinates_in_d",
)
DIGITS = (
    "conv_content",
    "coordconv_content",
    "conv",
    "coordconv",
    "conv_mixed",
    "coordconv_mixed",
)
ATARI = (*(f"rl/a2c_{game.lower()}_{arm}" for game in atari.GAMES for arm in atari.ARMS), "rl/ppo_pong_coordconv")
HELD = [f"frozen/a2c_mspacman_{arm}_{rate}" for arm in atari.ARMS for rate in ("0", "7e-4")]
POSITION = tuple(f"rl/find_and_touch_{arm}" for arm in ("conv", "coordconv", "conv_flat"))
TABLES: dict[str, Callable[[], str]] = {
    "classification": lambda: table(coordinates("classification", *CLASSIFIERS), "accuracy", 3, 0.01),
    "deconv grid": lambda: deconv_grid.table(deconv_grid.RECORDS / "uniform"),
    "controls": lambda: table(coordinates("classification", *CONTROLS), "accuracy", 3, 0.01),
    "cost": lambda: ratios(against_deconv("classification"), "accuracy", 0.01),
    "regression": lambda: table(coordinates("regression", "coordconv", "conv"), "distance", 3, 0.05, lower=True),
    "paper regressor": paper_regressor,
    "rendering": lambda: table(coordinates("rendering", "coordconv", "deconv"), "iou", 3, 0.01),
    "digits": lambda: table([f"classification/digits_{name}" for name in DIGITS], "top1", 3, 0.01),
    "border": lambda: table(
        [f"classification/digits_conv_{name}" for name in ("border", "border_circular")], "top1", 3, 0.01
    ),
    "proposals": lambda: proposals(""),
    "proposal ablations": lambda: proposals("_long", "_unseen", "_same", "_heads", "_zero_to_one", "_paper"),
    "proposal grid": lambda: detection_verdict.table(detection_verdict.RECORDS),
    "faster rcnn": lambda: measures(
        [f"detection/faster_rcnn_{arm}" for arm in ("conv", "coordconv")],
        {"map": "AP", "map_50": "AP at IoU 0.5", "map_75": "AP at IoU 0.75", "mar_100": "average recall"},
        digits=3,
    ),
    "gan": lambda: measures(
        [f"generative/small_{arm}" for arm in GAN_ARMS], ENTROPIES | {"well_formed": "well formed", "kl": "KL"}
    ),
    "gan manifold": lambda: measures(
        [f"generative/small_{arm}" for arm in GAN_ARMS],
        {
            "coverage_red": "coverage, red",
            "coverage_difference": "coverage, difference",
            "precision": "precision",
            "recall": "recall",
            "fid": "Fréchet distance",
            "path_intact": "path intact",
            "path_jump": "path jump",
        },
    ),
    "vae": lambda: measures(
        [f"generative/small_vae_{arm}" for arm in ("conv", "coordconv", "coordconv_spatial_broadcast")],
        {
            "path_intact": "path intact",
            "path_jump": "path jump",
            "well_formed": "well formed",
            "reconstruction": "reconstruction",
            "rate": "rate",
        },
    ),
    "find and touch": lambda: curves.table({name: runs_of(name) for name in POSITION}),
    "atari": lambda: curves.table({name: runs_of(name) for name in ATARI}, curves.TRAINING),
    "held weights": lambda: curves.table({name: runs_of(name) for name in HELD}, curves.TRAINING),
    "rendering cost": lambda: ratios(against_deconv("rendering"), "iou", 0.01),
}


def main() -> None:
    """Collect new summaries if asked to, and write all tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--collect", type=Path, metavar="LOGS", help="a folder of logs to take summaries from first")
    arguments = parser.parse_args()
    if arguments.collect:
        collect(arguments.collect)
    fill(PAGE, "python -m benchmarks.results", TABLES)


if __name__ == "__main__":
    main()
