"""The claims of the paper (Liu et al., 2018), and what each means in numbers."""

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from benchmarks import atari, detection_verdict
from benchmarks.claims.evidence import Arm, Best, Count, Criterion, difference, gain, less, mean_of, ratio
from benchmarks.claims.records import Run, available, cost, metric, strongest

SEEDS = range(5)
"""Seeds that each experiment is to have."""
PERFECT = 0.995
"""An accuracy or IoU from which on a mean over seeds counts as perfect."""
CLOSE = 0.5
"""Pixels up to which a mean error counts as near perfect, where the paper gives no number."""
EPOCHS = 1000
"""Epochs of the paper's deconvolutions."""
POSITIONS = {"uniform": 2_368, "quadrant": 2_407}
"""Training positions of each split in the authors' code."""
GAN_IMAGES = 50 * 50_000 * 3
"""Images in all optimiser steps of the paper's GANs: 50 epochs of 50,000 images, three steps on each batch."""
VAE_IMAGES = 50 * 50_000
"""The paper gives no length for its VAEs: this is the length of the GANs."""
DETECTION_IMAGES = 5 * 9_000
"""Five epochs, the default of the authors' parser, of their 9,000 images."""
GAME_STEPS = 10_000_000
"""Environment steps of a game. The paper gives no length: this is the length that the field often compares A2C at."""
UNCONFIRMED = "(quoted from memory, unconfirmed)"


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    Args:
        name: two or three words.
        claimed: what the paper claims.
        place: section or figure.
        reported: what the paper reports.
        criteria: what the claim means in numbers.
        commands: those that make the records; by default one sweep over the experiments.
    """

    name: str
    claimed: str
    place: str
    reported: str
    criteria: tuple[Criterion | Best | Count, ...]
    commands: tuple[str, ...] = ()

    @property
    def experiments(self) -> list[str]:
        """The experiments whose records are read, each once."""
        return list(dict.fromkeys(arm.experiment for criterion in self.criteria for arm in criterion.arms))


def painting(task: str, split: str, key: str, most: float, place: str, reported: str) -> Claim:
    """Return a claim on CoordConv and deconvolutions that turn positions into images."""
    base = f"coordinates/{task}_{split}_deconv"
    grid = [base, f"{base}_l2"] if (task, split) == ("classification", "uniform") else [base]
    label = {"accuracy": "held-out accuracy", "iou": "held-out IoU"}[key]
    return Claim(
        f"{task} {split}",
        f"Coordinate {task}, {split} split: CoordConv is perfect, deconvolution is not",
        place,
        reported,
        (
            mean_of(f"CoordConv, {label}", f"coordinates/{task}_{split}_coordconv", key, at_least=PERFECT),
            mean_of(f"best deconvolution, {label}", strongest(grid, key), key, EPOCHS * POSITIONS[split], at_most=most),
        ),
    )


def faster() -> Claim:
    """Return the claim on speed."""
    base = strongest([f"coordinates/classification_uniform_{arm}" for arm in ("deconv", "deconv_l2")], "accuracy")
    pair = ("coordinates/classification_uniform_coordconv", base)
    arms = tuple(Arm(experiment, partial(cost, name="accuracy")) for experiment in pair)
    name = "seconds to the plateau of accuracy, deconvolution / CoordConv"
    return Claim(
        "150 times faster",
        "CoordConv learns 150 times faster",
        "abstract",
        "150 times faster, on a GPU",
        tuple(Criterion(name, arms, ratio, at_least=least) for least in (1, 150)),
    )


def smaller() -> Claim:
    """Return the claim on numbers of weights."""
    tasks = {
        "classification": ("classification_uniform_coordconv", "classification_uniform_deconv"),
        "regression, uniform": ("regression_uniform_coordconv", "regression_uniform_conv"),
        "regression, quadrant": ("regression_quadrant_coordconv", "regression_quadrant_conv"),
        "rendering": ("rendering_uniform_coordconv", "rendering_uniform_deconv"),
    }

    def fewer(task: str, pair: tuple[str, str]) -> Criterion:
        arms = tuple(Arm(f"coordinates/{experiment}", lambda run: run["weights"]) for experiment in pair)
        return Criterion(f"ratio of weights, {task}", arms, ratio, at_least=10, exact=True)

    return Claim(
        "10 to 100 times fewer parameters",
        "CoordConv needs 10 to 100 times fewer parameters",
        "abstract",
        "10 to 100 times fewer",
        tuple(fewer(task, pair) for task, pair in tasks.items()),
    )


def regression() -> Claim:
    """Return the claim on coordinate regression."""
    ours = [
        mean_of(f"CoordConv, pixels of error, {split}", f"coordinates/regression_{split}_coordconv", "distance",
                at_most=CLOSE)
        for split in POSITIONS
    ]  # fmt: skip
    base = mean_of(
        "convolution, pixels of error, quadrant", "coordinates/regression_quadrant_conv", "distance",
        100 * POSITIONS["quadrant"], at_least=4 * CLOSE,
    )  # fmt: skip
    original = [
        Criterion(f"the paper's CoordConv network, share of seeds below {CLOSE} pixels, {split}",
                  (Arm(f"paper_regressor/{split}", lambda run: float(run["test"] < CLOSE)),), at_least=0.5)
        for split in POSITIONS
    ]  # fmt: skip
    return Claim(
        "regression",
        "Coordinate regression: CoordConv is near perfect on both splits, convolution fails on the quadrant",
        "section 4.2",
        "no errors in numbers; convolution generalises on the uniform split only",
        (*ours, base, *original),
        (
            "lightning-coordconv sweep coordinates/regression_{uniform,quadrant}_coordconv "
            "coordinates/regression_quadrant_conv --seeds 0 1 2 3 4",
            "python -m benchmarks.paper_regressor",
        ),
    )


def gans() -> Iterator[Claim]:
    """Yield the claims on GANs."""
    pair = available(
        ("generative/coordconv_before_tanh", "generative/conv"), ("generative/small_coordconv", "generative/small_conv")
    )
    check = partial(less, pair=pair, paper=GAN_IMAGES)
    yield Claim(
        "GAN entropies",
        "The positions of objects have a higher entropy in samples of a CoordConv GAN",
        "section 5",
        f"red 3.30 against 3.13, blue 2.93 against 2.69 nats {UNCONFIRMED}",
        tuple(
            check(f"entropy of {colour} positions, CoordConv less conv, nats", key=f"entropy_{colour}", at_least=0)
            for colour in ("red", "blue")
        ),
    )
    yield Claim(
        "GAN collapse",
        "A CoordConv GAN has less mode collapse",
        "abstract, section 5",
        "the conv GAN collapses to a part of the positions, the CoordConv GAN covers them",
        (
            mean_of("conv, share of red positions covered", pair[1], "coverage_red", GAN_IMAGES, at_most=0.5),
            check("share of red positions covered, CoordConv less conv", key="coverage_red", at_least=0),
            check("share of red-to-blue offsets covered, CoordConv less conv", key="coverage_difference", at_least=0),
        ),
    )


def interpolations() -> Iterator[Claim]:
    """Yield the claims on paths in latent space."""
    yield Claim(
        "LSUN interpolation",
        "GANs of bedrooms: on a path in latent space objects move with CoordConv, and fade with convolution",
        "section 5",
        "pictures, no numbers",
        (
            less("Fréchet distance, CoordConv less conv",
                 ("generative/bedrooms_coordconv", "generative/bedrooms_conv"), "fid", at_most=0),
        ),
    )  # fmt: skip
    pair = available(
        ("generative/vae_coordconv", "generative/vae_conv"),
        ("generative/small_vae_coordconv", "generative/small_vae_conv"),
    )
    yield Claim(
        "VAE interpolation",
        "VAEs: on a path in latent space objects move with CoordConv, and fade with convolution",
        "section 5",
        "pictures, no numbers",
        (
            less("longest jump on a path, CoordConv less conv", pair, "path_jump", VAE_IMAGES, at_most=0),
            less(
                "share of well-formed images on a path, CoordConv less conv",
                pair,
                "path_intact",
                VAE_IMAGES,
                at_least=0,
            ),
        ),
    )


def detection() -> Claim:
    """Return the claim on detection."""
    pairs = {
        f"proposals_*{variant}": (f"detection/proposals_coordconv{variant}", f"detection/proposals_conv{variant}")
        for variant in ("", "_long", "_unseen", "_same", "_paper")
    }
    for variant in detection_verdict.VARIANTS:
        for arm in detection_verdict.ARMS[1:]:
            theirs = f"detection_verdict/{variant}/{detection_verdict.ARMS[0]}"
            pairs[f"the authors' code, {variant}, {arm}"] = (f"detection_verdict/{variant}/{arm}", theirs)

    def better(least: float) -> Best:
        members = (
            Criterion(name, tuple(Arm(arm, metric("best_iou"), DETECTION_IMAGES) for arm in pair), gain, at_least=least)
            for name, pair in pairs.items()
        )
        return Best("IoU of the best-scored box, gain with CoordConv, most favourable variant", tuple(members))

    return Claim(
        "detection IoU",
        "Detection of scattered digits: 24 % better IoU",
        "abstract, section 5",
        f"24 % better; IoU of the best-scored box 0.806 against 0.650 {UNCONFIRMED}",
        (better(0), better(0.24)),
        (
            "lightning-coordconv sweep detection/proposals_{conv,coordconv}{,_long,_unseen,_same,_paper} "
            "--seeds 0 1 2 3 4",
            "python -m benchmarks.detection verdict --run --arms conv coordconv zero_to_one --seeds 5",
        ),
    )


def games() -> Claim:
    """Return the claim on Atari games."""

    def better(game: str) -> Criterion:
        names = (f"rl/a2c_{game.lower()}_{arm}" for arm in ("coordconv", "conv"))
        arms = tuple(Arm(name, training_reward, GAME_STEPS) for name in names)
        return Criterion(f"{game}, reward over training, CoordConv less conv", arms, difference, at_least=0)

    return Claim(
        "Atari (nine games)",
        "Agents: A2C with CoordConv is better in six of nine Atari games",
        "section 5",
        "six better, two about equal, one slightly worse; MsPacman much better; curves, no scores",
        (Count("games with more reward over training", tuple(map(better, atari.GAMES)), 6), better("MsPacman")),
        ("python -m benchmarks.atari --seeds 0 1 2 3 4",),
    )


def training_reward(run: Run) -> float:
    """Return the mean, over the evaluations of a run, of the reward of its last hundred training episodes."""
    values = [row["val/training_reward"] for row in run["curve"] if "val/training_reward" in row]
    return statistics.fmean(value for value in values if not math.isnan(value))


def imagenet() -> Claim:
    """Return the claim on ImageNet."""
    pair = ("classification/imagenet_coordconv", "classification/imagenet_conv")
    return Claim(
        "ImageNet",
        "ResNet-50 on ImageNet: no significant difference",
        "supplement",
        "top-5 accuracy 0.04 % higher over five runs each, not significant",
        (less("top-5 accuracy, CoordConv less conv", pair, "top5", at_least=-0.005, at_most=0.005),),
    )


def claims() -> list[Claim]:
    """Return all claims in the paper's order; which baseline is the strongest depends on the records."""
    classification = partial(painting, "classification", key="accuracy", place="section 4.1")
    rendering = partial(painting, "rendering", key="iou", place="section 4.3")
    return [
        classification("uniform", most=0.86, reported="CoordConv 100 %; no deconvolution above about 86 %"),
        classification("quadrant", most=0.05, reported="CoordConv 100 %; deconvolutions about 0"),
        faster(),
        smaller(),
        regression(),
        rendering("uniform", most=0.83, reported="CoordConv perfect; deconvolutions at most IoU 0.83"),
        rendering("quadrant", most=0.36, reported="CoordConv perfect; deconvolutions at most IoU 0.36"),
        *gans(),
        *interpolations(),
        detection(),
        games(),
        imagenet(),
    ]
