"""Functions that list the runs that the paper's claims still need, and estimate their cost from records."""

import json
import statistics
from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks import atari, detection_verdict
from benchmarks.claims import costs
from benchmarks.claims.paper import GAME_STEPS, SEEDS, claims
from benchmarks.claims.records import lengths, records

PAPER_RECIPE = ("detection/proposals_conv_paper", "detection/proposals_coordconv_paper")
"""Experiments that are as long as a run of the detection grid."""


def missing(experiments: Iterable[str]) -> Iterator[tuple[str, list[int]]]:
    """Yield each of some experiments with the seeds of which it has no record."""
    for experiment in experiments:
        done = {run["seed"] for run in records(experiment)}
        if left := [seed for seed in SEEDS if seed not in done]:
            yield experiment, left


def core_hours(experiment: str) -> float | None:
    """Return the core hours of a run by the records of its experiment, or of the other games; None without records."""
    if experiment.startswith("detection_verdict/") or experiment in PAPER_RECIPE:
        return detection_verdict.MINUTES / 60
    found = records(experiment)
    if experiment.startswith("rl/"):
        arm = experiment.rpartition("_")[2]
        names = [f"rl/a2c_{game.lower()}_{arm}" for game in atari.GAMES]
        steps = [
            run["cpu_seconds"] / lengths(name, run)["environment steps"] for name in names for run in records(name)
        ]
        return GAME_STEPS * statistics.fmean(steps) / 3600 if steps else None
    return statistics.fmean(run["cpu_seconds"] for run in found) / 3600 if found else None


def estimate(experiment: str) -> dict[str, Any] | None:
    """Return the row of ``benchmarks.claims.costs`` on an experiment."""
    return next((row for row in json.loads(costs.RESULTS.read_text()) if row["experiment"] == experiment), None)


def total(left: list[tuple[str, list[int]]]) -> str:
    """Return what runs cost together.

    Args:
        left: experiments, and seeds of each.
    """
    hours = {"core": 0.0, "GPU": 0.0}
    memory, unknown = 0.0, 0
    for experiment, some in left:
        if (core := core_hours(experiment)) is not None:
            hours["core"] += len(some) * core
        elif (row := estimate(experiment)) is not None:
            hours["GPU"] += len(some) * row["gpu_hours"]
            memory = max(memory, row["gib"])
        else:
            unknown += len(some)
    parts = [f"{value:{',.0f' if value >= 100 else '.3g'}} {unit} hours" for unit, value in hours.items() if value]
    parts += [f"{memory:.1f} GiB"] if memory else []
    parts += [f"{unknown} runs without an estimate"] if unknown else []
    return ", ".join(parts)


def listing() -> str:
    """Return the runs without a record, each experiment with its seeds, their cost and the claims that need it."""
    lines: list[str] = []
    found: dict[str, tuple[list[int], list[str]]] = {}
    for claim in claims():
        for experiment, left in missing(claim.experiments):
            found.setdefault(experiment, (left, []))[1].append(claim.name)
    for experiment, (left, names) in found.items():
        cost = total([(experiment, left)])
        lines.append(f"{experiment}, seeds {' '.join(map(str, left))}: {cost} ({', '.join(names)})")
    count = sum(len(seeds) for seeds, _ in found.values())
    together = total([(experiment, left) for experiment, (left, _) in found.items()])
    return "\n".join([*lines, f"{count} runs: {together}"])
