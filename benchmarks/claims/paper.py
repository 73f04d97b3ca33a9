"""Functions that return the paper's claims on GANs, latent paths (GAN, VAE), detection, Atari and ImageNet, or all."""

import math
import statistics
from collections.abc import Iterator
from functools import partial

from benchmarks import atari, detection_verdict
from benchmarks.claims.claim import LABELS, Claim, difference, gain, length, less, mean_of
from benchmarks.claims.coordinates import faster, painting, regression, smaller
from benchmarks.claims.evidence import Arm, Best, Count, Criterion
from benchmarks.claims.records import Run, available, metric

SEEDS = range(5)
"""Seeds that each experiment is to have."""
GAN = length(50 * 50_000 * 3, 16)
"""All optimiser steps of the paper's GANs: 50 epochs of 50,000 images, three steps on each batch of 16."""
VAE = {"images": 50 * 50_000}
"""The paper gives no length for its VAEs: this is the number of images of the GANs."""
DETECTION = length(5 * 9_000, 1)
"""Five epochs, the default of the authors' parser, of their 9,000 images, one a step."""
GAME_STEPS = 10_000_000
"""Environment steps of a game. The paper gives no length: this is the length that the field often compares A2C at."""
UNCONFIRMED = "(quoted from memory, unconfirmed)"


def gans() -> Iterator[Claim]:
    """Yield the claims on GANs."""
    full = ("generative/coordconv_before_tanh", "generative/conv")
    pair = available(full, ("generative/small_coordconv", "generative/small_conv"))
    check = partial(less, pair=pair, paper=GAN)
    yield Claim(
        "GAN entropies",
        "The positions of objects have a higher entropy in samples of a CoordConv GAN",
        "section 5",
        f"red 3.30 against 3.13, blue 2.93 against 2.69 nats {UNCONFIRMED}",
        tuple(
            check(f"entropy of {colour} positions, CoordConv less conv, nats", key=f"entropy_{colour}", at_least=0)
            for colour in ("red", "blue")
        ),
        full=full,
    )
    yield Claim(
        "GAN collapse",
        "A CoordConv GAN has less mode collapse",
        "abstract, section 5",
        "the conv GAN collapses to a part of the positions, the CoordConv GAN covers them",
        (
            mean_of(
                "collapse of the conv GAN, share of red positions covered", pair[1], "coverage_red", GAN, at_most=0.5
            ),
            check("share of red positions covered, CoordConv less conv", key="coverage_red", at_least=0),
            check("share of red-to-blue offsets covered, CoordConv less conv", key="coverage_difference", at_least=0),
        ),
        full=full,
    )


def interpolations() -> Iterator[Claim]:
    """Yield the claims on paths in latent space."""
    yield Claim(
        "LSUN interpolation",
        "GANs of bedrooms: on a path in latent space objects move with CoordConv, and fade with convolution",
        "section 5",
        "pictures, no numbers",
        (
            less("Fréchet distance of samples (does not test motion on a path), CoordConv less conv",
                 ("generative/bedrooms_coordconv", "generative/bedrooms_conv"), "fid", at_most=0),
        ),
    )  # fmt: skip
    full = ("generative/vae_coordconv", "generative/vae_conv")
    pair = available(full, ("generative/small_vae_coordconv", "generative/small_vae_conv"))
    yield Claim(
        "VAE interpolation",
        "VAEs: on a path in latent space objects move with CoordConv, and fade with convolution",
        "section 5",
        "pictures, no numbers",
        (
            less("longest jump on a path, CoordConv less conv", pair, "path_jump", VAE, at_most=0),
            less("share of well-formed images on a path, CoordConv less conv", pair, "path_intact", VAE, at_least=0),
        ),
        full=full,
    )


def detection() -> Claim:
    """Return the claim on detection."""
    pairs = {
        f"proposals_*{variant}": (f"detection/proposals_coordconv{variant}", f"detection/proposals_conv{variant}")
        for variant in ("", "_long", "_unseen", "_same", "_paper")
    }
    for variant in ("_heads", "_zero_to_one"):
        pairs[f"proposals_coordconv{variant}"] = (f"detection/proposals_coordconv{variant}", "detection/proposals_conv")
    authors = {"proposals_*_paper": pairs["proposals_*_paper"]}
    for variant in detection_verdict.VARIANTS:
        for arm in detection_verdict.ARMS[1:]:
            theirs = f"detection_verdict/{variant}/{detection_verdict.ARMS[0]}"
            authors[f"the authors' code, {variant}, {arm}"] = (f"detection_verdict/{variant}/{arm}", theirs)

    def better(which: str, pairs: dict[str, tuple[str, str]], least: float) -> Best:
        members = []
        for name, pair in pairs.items():
            arms = (Arm(arm, metric("best_iou"), DETECTION, label) for arm, label in zip(pair, LABELS, strict=True))
            members.append(Criterion(name, tuple(arms), gain, at_least=least))
        return Best(f"IoU of the best-scored box, gain with CoordConv, {which}", tuple(members))

    every = "most favourable variant"

    return Claim(
        "detection IoU",
        "Detection of scattered digits: 24 % better IoU",
        "abstract, section 5",
        f"24 % better; IoU of the best-scored box 0.806 against 0.650 {UNCONFIRMED}",
        (
            better(every, pairs | authors, 0),
            better(every, pairs | authors, 0.24),
            better("the authors' recipe", authors, 0.24),
        ),
        (
            "lightning-coordconv sweep detection/proposals_{conv,coordconv}{,_long,_unseen,_same,_paper} "
            "detection/proposals_coordconv_{heads,zero_to_one} --seeds 0 1 2 3 4",
            "python -m benchmarks.detection_verdict --run --arms conv coordconv zero_to_one --seeds 5",
        ),
    )


def games() -> Claim:
    """Return the claim on Atari games."""

    def better(game: str) -> Criterion:
        names = (f"rl/a2c_{game.lower()}_{arm}" for arm in ("coordconv", "conv"))
        steps = {"environment steps": GAME_STEPS}
        arms = tuple(Arm(name, training_reward, steps, label) for name, label in zip(names, LABELS, strict=True))
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
