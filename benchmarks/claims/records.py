"""Functions that read metrics, training lengths and costs from records of runs, and choose which experiments to use."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks import detection_verdict, paper_regressor, results
from lightning_coordconv.coordinates import CoordConvRegressor
from lightning_coordconv.runtime import shipped_configs

Run = dict[str, Any]

MIN_SEEDS = 3
"""Seeds that an experiment needs before an interval is computed."""


def records(experiment: str) -> list[Run]:
    """Return the records of an experiment by seed; those of two other benchmarks are named by their module first."""
    source, _, rest = experiment.partition("/")
    if source == "detection_verdict":
        folder = detection_verdict.RECORDS / rest
        return sorted((json.loads(path.read_text()) for path in folder.glob("seed*.json")), key=lambda run: run["seed"])
    if source == "paper_regressor":
        weights = sum(part.numel() for part in CoordConvRegressor().parameters())
        found = json.loads(paper_regressor.RESULTS.read_text())
        return [run | {"weights": weights} for run in found if run["partition"] == rest]
    return results.runs_of(experiment)


def lengths(experiment: str, run: Run) -> dict[str, float]:
    """Return how long a run trained: images and optimiser steps, or for an agent environment steps."""
    if "epochs" in run:  # of benchmarks.detection_verdict, an image a step
        return dict.fromkeys(("images", "optimiser steps"), run["images"] * len(run["epochs"]))
    if run.get("curve") and "val/timesteps" in run["curve"][-1]:
        return {"environment steps": run["curve"][-1]["val/timesteps"]}
    return {"images": run["steps"] * batch_size(experiment), "optimiser steps": run["steps"]}


def batch_size(experiment: str) -> int:
    """Return the batch size of an experiment's configs."""
    data = [yaml.safe_load(Path(path).read_text()).get("data", {}) for path in shipped_configs.find(experiment)]
    return [part["init_args"]["batch_size"] for part in data if "batch_size" in part.get("init_args", {})][-1]


def metric(name: str) -> Callable[[Run], float]:
    """Return a function that reads a metric of the test from a record."""

    def read(run: Run) -> float:
        return run["test"][f"test/{name}"]

    return read


def cost(run: Run, name: str, slack: float = 0.01) -> float:
    """Return the seconds to the plateau of a metric in validation: CPU seconds of a CPU, else elapsed seconds."""
    row = results.plateau(run, f"val/{name}", max, slack)
    return row["cpu_seconds" if run["device"] == "cpu" else "seconds"]


def strongest(experiments: Sequence[str], key: str) -> str:
    """Return the experiment with the greatest mean of a metric, of those with enough seeds where there are any."""
    found = {name: records(name) for name in experiments}
    for least in (MIN_SEEDS, 1):
        means = {
            name: float(np.mean([metric(key)(run) for run in runs]))
            for name, runs in found.items()
            if len(runs) >= least
        }
        if means:
            return max(means, key=means.__getitem__)
    return experiments[0]


def available(*pairs: tuple[str, str]) -> tuple[str, str]:
    """Return the first pair of experiments of which both have records, or the last."""
    return next((pair for pair in pairs if all(map(records, pair))), pairs[-1])
