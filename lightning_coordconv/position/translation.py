"""Function that measures how much a model's prediction changes when the content of an image is moved."""

import math
from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_coordconv.core.strides import other_strides
from lightning_coordconv.position.features import is_vector, run
from lightning_coordconv.position.padding import padded_with

STEP = 32
"""Total stride of common networks, whose strides are powers of two."""
MIN_STEPS = (2, 4)
"""Least size of images in steps; the second where the last maps are smaller than kernels with the first."""


def measure_translation(model: nn.Module, images: Sequence[Tensor]) -> float | None:
    """Compare the change of the prediction when content is moved with its change from one image to another.

    Images are moved cyclically by about half their size, and convolutions pad circularly meanwhile, so that there is no
    border; medians are compared, so that objects at the seam do not matter. Images whose size is no multiple of the
    total stride, or too small, are padded with zeros if the model takes other sizes, for strided layers see an object
    differently after a move by less than their stride. A model that pools its features over the whole image, as ResNets
    do, then predicts the same, and the result is near 0. A model with a linear layer over all cells, a spatial softmax
    or a position embedding predicts something else: the result is about 1. That holds for random weights too.

    Args:
        model: in evaluation mode.
        images: (C, H, W) each, at least two, of one size.

    Returns:
        The ratio of the two median changes; ``None`` for a model that does not return one vector an image, for images
        of several sizes, and if all images give the same prediction.
    """
    if len({tuple(image.shape) for image in images}) > 1:
        return None
    step = _step(model)
    for least in MIN_STEPS:
        size = [max(least, -(-length // step)) * step for length in images[0].shape[-2:]]
        with suppress(ValueError):  # the model takes images of one size only, or larger ones
            outputs, moved = _outputs(model, [_padded(image, size) for image in images], step)
            break
    else:
        outputs, moved = _outputs(model, images, step)
    if any(output is None for output in outputs):
        return None
    still, there = (torch.stack([output for output in found if output is not None]) for found in (outputs, moved))
    others = still.roll(len(still) // 2, 0)  # of other classes too, where classes come one after the other
    between = (still - others).norm(dim=1).median()
    return float((there - still).norm(dim=1).median() / between) if between > 0 else None


def _step(model: nn.Module) -> int:
    """Return a multiple of the total stride: ``STEP``, times the odd factors of all strides, as if in one sequence."""
    return STEP * math.prod(stride // (stride & -stride) for stride in other_strides(model).values())


def _padded(image: Tensor, size: Sequence[int]) -> Tensor:
    """Pad an image (C, H, W) with zeros at the bottom and right."""
    return F.pad(image, (0, size[1] - image.shape[-1], 0, size[0] - image.shape[-2]))


def _outputs(model: nn.Module, images: Sequence[Tensor], step: int) -> tuple[list[Tensor | None], list[Tensor | None]]:
    """Return the predictions for images, and for the same moved by about half their size."""
    shift = [size // 2 // step * step or size // 2 for size in images[0].shape[-2:]]
    with padded_with(model, "circular"):
        moved = [_vector(model, image.roll(shift, (-2, -1))) for image in images]
        return [_vector(model, image) for image in images], moved


def _vector(model: nn.Module, image: Tensor) -> Tensor | None:
    """Return what a model predicts for an image as a vector; ``None`` if it predicts something else."""
    output = run(model, [image])
    return output.flatten().float().cpu() if is_vector(output) else None
