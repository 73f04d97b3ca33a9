"""Functions that return the paper's claims on accuracy, speed and size in the coordinate tasks, with criteria."""

import statistics
from functools import partial

import numpy as np

from benchmarks.claims.claim import UNKNOWN, Claim, length, mean_of, ratio
from benchmarks.claims.evidence import Arm, Criterion, number
from benchmarks.claims.records import Run, cost, metric, records, strongest
from benchmarks.results import DECONVOLUTIONS

LABELS = ("CoordConv", "deconvolution")
PERFECT = 0.995
"""An accuracy or IoU from which on a mean over seeds counts as perfect."""
CLOSE = 0.5
"""Pixels up to which a mean error counts as near perfect, where the paper gives no number."""
EPOCHS, BATCH = 1000, 32
"""Epochs of the paper's deconvolutions, and the greater of their two batch sizes."""
SLACK = 0.01
"""A run is on its plateau once its accuracy in validation is within this of its best."""
UNIFORM = [f"coordinates/classification_uniform_{arm}" for arm in DECONVOLUTIONS]
"""Points of the paper's grid that were trained on the uniform split of coordinate classification."""
POSITIONS = {"uniform": 2_368, "quadrant": 2_407}
"""Training positions of each split in the authors' code."""


def weights(run: Run) -> float:
    """Return the number of weights."""
    return float(run["weights"])


def size(experiment: str) -> str:
    """Return how many weights an experiment has by its first record."""
    return next((f"{run['weights']:,} weights" for run in records(experiment)), "not run")


def below(run: Run) -> float:
    """Return whether the paper's regressor came near."""
    return float(run["test"] < CLOSE)


def solved(split: str) -> str:
    """Return in how many seeds the paper's regressor came near."""
    found = list(map(below, records(f"paper_regressor/{split}")))
    return f"{sum(found):.0f} of {len(found)} seeds"


def painting(task: str, split: str, key: str, most: float, place: str, reported: str) -> Claim:
    """Return a claim on CoordConv and deconvolutions that turn positions into images."""
    base = f"coordinates/{task}_{split}_deconv"
    grid = UNIFORM if (task, split) == ("classification", "uniform") else [base]
    label = {"accuracy": "held-out accuracy", "iou": "held-out IoU"}[key]
    return Claim(
        f"{task} {split}",
        f"Coordinate {task}, {split} split: CoordConv is perfect, deconvolution is not",
        place,
        reported,
        (
            mean_of(f"CoordConv, {label}", f"coordinates/{task}_{split}_coordconv", key, at_least=PERFECT),
            mean_of(
                f"best deconvolution, {label}",
                strongest(grid, key),
                key,
                length(EPOCHS * POSITIONS[split], BATCH),
                at_most=most,
            ),
        ),
    )


def faster() -> Claim:
    """Return the claim on speed."""
    base = strongest(UNIFORM, "accuracy")
    pair = ("coordinates/classification_uniform_coordconv", base)
    read = partial(cost, name="accuracy", slack=SLACK)
    paper = (UNKNOWN, length(EPOCHS * POSITIONS["uniform"], BATCH))  # a plateau is within the run, however long it is
    arms = tuple(Arm(name, read, whole, label) for name, whole, label in zip(pair, paper, LABELS, strict=True))
    reached = [
        f"{label} {number(statistics.fmean(map(metric('accuracy'), found)))}"
        for label, experiment in zip(LABELS, pair, strict=True)
        if (found := records(experiment))
    ]
    name = (
        f"seconds to the plateau (accuracy in validation within {SLACK} of the best of the run), "
        f"deconvolution / CoordConv (held-out accuracy that the arms reach: {', '.join(reached)})"
    )
    return Claim(
        "150 times faster",
        "CoordConv learns 150 times faster",
        "abstract",
        "150 times faster, on a GPU",
        tuple(Criterion(name, arms, ratio, at_least=least, centre=np.median) for least in (1, 150)),
    )


def smaller() -> Claim:
    """Return the claim on numbers of weights."""
    best = strongest(UNIFORM, "accuracy")
    tasks = {"classification": ("coordinates/classification_uniform_coordconv", best)}
    for split in POSITIONS:
        base = f"coordinates/regression_{split}_conv"
        tasks[f"regression, {split}, this package's CoordConv"] = (f"coordinates/regression_{split}_coordconv", base)
        tasks[f"regression, {split}, the paper's own CoordConv"] = (f"paper_regressor/{split}", base)
    tasks["rendering"] = ("coordinates/rendering_uniform_coordconv", "coordinates/rendering_uniform_deconv")

    def fewer(task: str, pair: tuple[str, str]) -> Criterion:
        labels = ("CoordConv", "deconvolution" if "deconv" in pair[1] else "convolution")
        arms = tuple(Arm(name, weights, label=label) for name, label in zip(pair, labels, strict=True))
        return Criterion(f"ratio of weights, {task}", arms, ratio, at_least=10, exact=True, centre=np.median)

    return Claim(
        "10 to 100 times fewer parameters",
        "CoordConv needs 10 to 100 times fewer parameters",
        "abstract",
        "10 to 100 times fewer",
        tuple(fewer(task, pair) for task, pair in tasks.items()),
        (
            "lightning-coordconv sweep coordinates/{classification,rendering}_uniform_{coordconv,deconv} "
            "coordinates/regression_{uniform,quadrant}_{coordconv,conv} --seeds 0 1 2 3 4",
            "python -m benchmarks.paper_regressor",
        ),
    )


def regression() -> Claim:
    """Return the claim on coordinate regression."""
    trained = {split: f"coordinates/regression_{split}_coordconv" for split in POSITIONS}
    ours = [
        mean_of(f"this package's CoordConv ({size(name)}), pixels of error, {split}", name, "distance", at_most=CLOSE)
        for split, name in trained.items()
    ]
    base = mean_of(
        "convolution, pixels of error, quadrant", "coordinates/regression_quadrant_conv", "distance",
        length(100 * POSITIONS["quadrant"], 256), at_least=4 * CLOSE,
    )  # fmt: skip
    original = [
        Criterion(
            f"the paper's own CoordConv ({size(f'paper_regressor/{split}')}), share of seeds below {CLOSE} pixels, "
            f"{split} ({solved(split)})",
            (Arm(f"paper_regressor/{split}", below),),
            at_least=0.5,
        )
        for split in POSITIONS
    ]
    return Claim(
        "regression",
        "Coordinate regression: CoordConv is near perfect on both splits, convolution fails on the quadrant",
        "section 4.2",
        "gives no numbers for the error; convolution generalises on the uniform split only",
        (*ours, *original, base),
        (
            "lightning-coordconv sweep coordinates/regression_{uniform,quadrant}_coordconv "
            "coordinates/regression_quadrant_conv --seeds 0 1 2 3 4",
            "python -m benchmarks.paper_regressor",
        ),
    )
