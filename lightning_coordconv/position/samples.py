"""Functions that read samples, make their values tensors, and check their images, boxes, classes and numbers."""

import random
import reprlib
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

from lightning_coordconv.core import BaseDataModule
from lightning_coordconv.position.keypoints import POSITIONS

CLASSES = ("label", "labels", "mask")
"""Keys of targets that are numbers of classes."""


def read_samples(data: BaseDataModule, num_images: int) -> list[Mapping[str, Any]]:
    """Return samples of the training split: one at random, the same in each call, of each of equal parts of it.

    Samples at equal distances could be all of one kind, as where every second one is.

    Raises:
        TypeError: if the data are no data module of this kind.
        ValueError: if there are fewer than 4, or samples have no image.
    """
    if not isinstance(data, BaseDataModule):
        raise TypeError(f"data must be a BaseDataModule of lightning_coordconv.core, got a {type(data).__name__}")
    data.prepare_data()
    data.setup("fit")
    dataset: Any = data.dataset("train")
    if len(dataset) < 4:
        raise ValueError(f"the training split has {len(dataset)} images, too few to advise on: at least 4 are needed")
    count = min(num_images, len(dataset))
    if count < num_images:
        rank_zero_info(f"the training split has {count} samples, not {num_images}: all of them are read")
    starts = [number * len(dataset) // count for number in range(count + 1)]
    generator = random.Random(0)
    samples = [dataset[generator.randrange(start, end)] for start, end in pairwise(starts)]
    image = samples[0].get("image") if isinstance(samples[0], Mapping) else None
    if not isinstance(image, Tensor) or image.dim() != 3:
        found = sorted(samples[0]) if isinstance(samples[0], Mapping) else type(samples[0]).__name__
        raise ValueError(f"advice needs samples with an 'image' (C, H, W); {type(data).__name__} has {found}")
    return samples


def as_tensors(sample: Mapping[str, Any]) -> dict[str, Any]:
    """Return a sample with tensors in place of NumPy's numbers and arrays and of lists of floating-point numbers."""
    return {key: _as_tensor(value) for key, value in sample.items()}


def _as_tensor(value: Any) -> Any:
    if isinstance(value, list | tuple) and value and all(isinstance(entry, float | np.floating) for entry in value):
        return torch.tensor([float(entry) for entry in value])
    if isinstance(value, np.ndarray | np.number) and value.dtype.kind in "biuf":
        return torch.as_tensor(value)
    return value


def check_sample(sample: Mapping[str, Any], number: int, ignore_index: int) -> None:
    """Check the image, and the targets that are classes, boxes or single numbers.

    Args:
        sample: a dict with an ``image``.
        number: of the sample, for messages.
        ignore_index: the class that means that there is none.

    Raises:
        ValueError: naming the sample and the key, if classes or positions are no numbers, an image, a box or a number
            is NaN or infinite, a box has a negative width or height, a class is no integer, or negative and not
            ``ignore_index``, or an image has not one ``label``.
    """
    for key, value in sample.items():
        what = f"{key!r} of sample {number}"
        if key in CLASSES:
            _check_classes(what, _numbers(what, value, "integers, the numbers of classes"), key, ignore_index)
        elif key in POSITIONS:
            _numbers(what, value)
        elif key in ("image", "boxes") or is_number(value):
            found = _numbers(what, value)
            if not bool(found.isfinite().all()):
                wrong = found[~found.isfinite()].flatten()[0].item()
                raise ValueError(f"{what} must be finite, got {wrong}")
            if key == "boxes":
                _check_corners(what, found.reshape(-1, 4))


def _numbers(what: str, value: Any, allowed: str = "numbers") -> Tensor:
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:  # of text, of lists of several lengths, of None
        raise ValueError(f"{what} must hold {allowed}, got {reprlib.repr(value)}") from error


def is_number(value: object) -> bool:
    """Return whether a value is a single floating-point number."""
    return isinstance(value, float) or (isinstance(value, Tensor) and value.is_floating_point() and value.numel() == 1)


def _check_corners(what: str, boxes: Tensor) -> None:
    """Refuse boxes whose second corner is not the lower right one, as that of x, y, width and height often is not."""
    wrong = boxes[(boxes[:, 2:] < boxes[:, :2]).any(1)]
    if len(wrong):
        raise ValueError(f"{what} must be x1, y1, x2, y2 with x1 <= x2 and y1 <= y2, got {wrong[0].tolist()}")


def _check_classes(what: str, classes: Tensor, key: str, ignore_index: int) -> None:
    if classes.is_floating_point() or classes.is_complex():
        shown = "" if classes.numel() != 1 else f" {classes.item():g}"
        raise ValueError(
            f"{what} must hold integers, the numbers of classes, got{shown} {classes.dtype}: a number to predict has "
            "another name"
        )
    if key == "label" and classes.numel() != 1:
        raise ValueError(f"{what} must be one class, got the shape {tuple(classes.shape)}")
    wrong = classes[(classes < 0) & (classes != ignore_index)]
    if len(wrong):
        raise ValueError(
            f"{what} must hold classes from 0, got {wrong[0].item()}: if that means no class, set ignore_index of the "
            "data"
        )
