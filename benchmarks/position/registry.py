"""Lists the tasks of the position benchmark by name, with the arms of each."""

from collections.abc import Callable
from functools import partial

from torch import nn

from benchmarks.position import objects, patches, sensor
from benchmarks.position.networks import DenseNet2d, HeatMapRegressor, signal_classifier
from benchmarks.position.scattered_digits import OneOrTwoClasses
from benchmarks.position.task import BenchTask, GeneratedDataModule, Make, Module, scored, scored_in_frame
from lightning_coordconv.classification import ImageClassification, PlacedDigitsDataModule, PooledClassifier
from lightning_coordconv.classification.placed_digits import Labels
from lightning_coordconv.core import BaseDataModule
from lightning_coordconv.detection import DigitFasterRCNN, ObjectDetection
from lightning_coordconv.segmentation import SemanticSegmentation

BASIC = ("plain", "zero_padding", "first", "advised")
FIVE = (*BASIC, "first_fourier")
ENCODED = ("first_radius", "first_polar", "first_sinusoidal", "first_learned_grid", "first_constants")
"""Further arms of the tasks that compare encodings."""


def generated(make: Make, batch_size: int) -> Callable[[int], BaseDataModule]:
    return lambda seed: GeneratedDataModule(make, batch_size, seed)


def segmentation(num_classes: int) -> Module:
    return lambda net, recipe, framed: SemanticSegmentation(net, num_classes, **recipe)


def digits(title: str, labels: Labels, steps: int, arms: tuple[str, ...]) -> BenchTask:
    """Return a task of placed digits."""
    num_classes = 4 if labels == "position" else 10
    return BenchTask(
        title,
        lambda seed: PlacedDigitsDataModule(labels, batch_size=64, eval_batch_size=500, seed=seed),
        lambda: PooledClassifier(num_classes),
        lambda net, recipe, framed: ImageClassification(net, **recipe),
        "top1",
        steps,
        "accuracy",
        arms,
        lr=0.005,
    )


def detection(title: str, label: str, num_classes: int, steps: int = 120) -> BenchTask:
    """Return a task of scattered digits."""
    return BenchTask(
        title,
        lambda seed: OneOrTwoClasses(label, seed),  # type: ignore[arg-type]
        lambda: DigitFasterRCNN(coordinates=False, num_classes=num_classes),
        lambda net, recipe, framed: ObjectDetection(net, **recipe),
        "map",
        steps,
        "AP",
        BASIC[1:],
        lr=0.002,
    )


def masks(title: str, make: Make, channels: int, steps: int = 300) -> BenchTask:
    """Return a task of instance masks, one for each cell of a grid."""
    num_classes = objects.CELLS**2 + 1
    return BenchTask(
        title,
        generated(make, 16),
        lambda: DenseNet2d(channels, num_classes, width=16),
        segmentation(num_classes),
        "miou",
        steps,
        "mean IoU",
        FIVE,
    )


def sides(title: str, dilations: tuple[int, ...], arms: tuple[str, ...], steps: int = 300) -> BenchTask:
    """Return a task of mirrored objects."""
    return BenchTask(
        title,
        generated(objects.sides, 4),
        lambda: DenseNet2d(3, 3, width=24, dilations=dilations, stride=2),
        segmentation(3),
        "miou",
        steps,
        "mean IoU",
        arms,
    )


TASKS = {
    "sensor": BenchTask(
        "height of bumps, measured by a sensor whose sensitivity depends on the place, on crops",
        generated(sensor.bumps, 16),
        lambda: DenseNet2d(1, 1),
        scored_in_frame(sensor.measure),
        "score",
        300,
        "error in % of the height",
        (*FIVE, *ENCODED, "first_unframed"),
        lower=True,
    ),
    "wafers": BenchTask(
        "cause of a cluster of failed dies, by its distance in mm; wafers of a diameter that training has not seen",
        generated(sensor.wafers, 32),
        lambda: PooledClassifier(2),
        scored_in_frame(sensor.inspect),
        "score",
        250,
        "accuracy",
        (*FIVE, *ENCODED, "first_unframed"),
    ),
    "masks_clevr": masks("instance masks without boxes (as SOLO), squares and circles", objects.clevr_masks, 3),
    "masks_digits": masks("instance masks without boxes (as SOLO), two digits", objects.digit_masks, 1),
    "sides": sides(
        "segmentation of mirrored objects on photographs into left and right ones", (1, 1, 2, 2), (*FIVE, *ENCODED)
    ),
    "sides_wide_view": sides("the same, by a network whose field of view reaches the border", (1, 2, 4, 4), BASIC),
    "keypoint_regression": BenchTask(
        "place of the red object, by regression from pooled features",
        generated(objects.keypoints, 32),
        lambda: PooledClassifier(2, channels=3),
        scored(objects.locate),
        "score",
        300,
        "error in pixels",
        (*FIVE, *ENCODED),
        lower=True,
    ),
    "keypoint_heat_map": BenchTask(
        "place of the red object, by a heat map and spatial softmax",
        generated(objects.keypoints, 32),
        lambda: HeatMapRegressor(3),
        scored(objects.locate),
        "score",
        300,
        "error in pixels",
        FIVE,
        lower=True,
    ),
    "digits_position": digits("digits, classified by where they are", "position", 150, (*FIVE, *ENCODED)),
    "digits_content": digits("digits, classified by digit: a null", "content", 300, FIVE),
    "detection": detection("detection of digits, one class: a null", "digit", 2),
    "detection_sides": detection("detection of digits whose class is a side", "side", 3),
    "patch_diffusion": BenchTask(
        "diffusion of digits, trained on patches of 16 x 16, tested on images of 32 x 32",
        generated(patches.centred_digits, 32),
        lambda: DenseNet2d(1, 1, width=24, dilations=(1, 2, 4, 2)),
        scored(patches.denoise),
        "score",
        250,
        "squared error of the noise",
        FIVE,
        lower=True,
    ),
    "time_window": BenchTask(
        "signals, classified by when the pulse comes",
        generated(patches.events, 64),
        partial(signal_classifier, 1, 3, nn.Conv1d),
        scored(patches.classify),
        "score",
        300,
        "accuracy",
        FIVE,
    ),
}
