"""Class that applies transforms to an image, boxes, masks and keypoints, checks the results, and drops lost objects."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import to_dtype

PER_BOX = ("labels", "iscrowd", "filled")
"""What a sample has for each box, beside its targets."""
THINNEST = 1e-3
"""Side of a box, in pixels, that counts as none: torchvision's detectors drop proposals that are as thin."""
TOLERANCE = 1e-3
"""By how much values of an image may leave [0, 1], as resampling and changes of colour let them."""


class ImageAndBoxes:
    """The transforms of a data set, one after the other.

    Boxes are returned as x1, y1, x2, y2, whatever their format, cut at the border of the image. Objects are left out
    if nothing of their box is left, by :data:`THINNEST`, or if they have a mask and no pixel of it is left.

    Args:
        changes: v2 transforms. Each gets and returns a dict with an image, boxes, :data:`PER_BOX` and ``keys``.
        keys: names of further tensors with an entry for each box: ``masks``, ``keypoints`` and their ``visibility``.
    """

    def __init__(self, changes: Iterable[Callable[[Any], Any]], keys: Iterable[str] = ()) -> None:
        self.changes = list(changes)
        self.keys = (*PER_BOX, *keys)
        self.tidy = v2.Compose([v2.ConvertBoundingBoxFormat("XYXY"), v2.ClampBoundingBoxes()])

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Return the transformed sample, whose ``image`` is float32 in [0, 1].

        Raises:
            ValueError: if the transforms do not return an image (3, H, W) in [0, 1], as many boxes as labels, and
                boxes, masks and keypoints of the image's size.
        """
        resized: Any = None
        for change in self.changes:
            sample = change(sample)
            if resized is None and len(set(_sizes(sample).values())) > 1:
                resized = change
        if self.changes:
            _check(sample, self.keys, resized)
            sample = self.tidy(sample)
            left = (sample["boxes"][:, 2:] - sample["boxes"][:, :2] > THINNEST).all(1)
            if "masks" in self.keys:
                left &= (sample["masks"] > 0).flatten(1).any(1)
            sample = {**sample, **{key: sample[key][left] for key in ("boxes", *self.keys)}}
        image = to_dtype(sample["image"].as_subclass(Tensor), torch.float32, scale=True)
        if self.changes and not bool(((image >= -TOLERANCE) & (image <= 1 + TOLERANCE)).all()):
            low, high = image.min().item(), image.max().item()
            raise ValueError(
                f"the transforms return an image with values from {low:g} to {high:g}, but it must be uint8, or "
                "floating-point in [0, 1]: convert with ToDtype(torch.float32, scale=True), and leave the "
                "normalisation to the detector"
            )
        return {**sample, "image": image}


def _sizes(sample: Any) -> dict[str, tuple[int, ...]]:
    """Return (H, W) of what a sample has of an image, boxes, masks and keypoints; () for what is no tv_tensor."""
    found = sample if isinstance(sample, Mapping) else {}
    images = {name: tuple(getattr(found[name], "shape", ())[-2:]) for name in ("image", "masks") if name in found}
    points = {name: tuple(getattr(found[name], "canvas_size", ())) for name in ("boxes", "keypoints") if name in found}
    return images | points


def _check(sample: Any, keys: tuple[str, ...], resized: Any) -> None:
    """Check that a sample has an image of three channels, boxes on it, and an entry of each key for each box.

    Args:
        sample: after all transforms.
        keys: what has an entry for each box.
        resized: the first transform after which sizes differ; ``None`` if there is none.
    """
    if not isinstance(sample, Mapping) or not isinstance(sample.get("image"), Tensor):
        raise ValueError("the transforms must return a dict with the image as a tensor, as v2 transforms do")
    if not isinstance(sample.get("boxes"), tv_tensors.BoundingBoxes):
        raise ValueError("the transforms must return boxes as tv_tensors.BoundingBoxes, as v2 transforms do")
    shape = tuple(sample["image"].shape)
    if len(shape) != 3 or shape[0] != 3:
        raise ValueError(f"the transforms must return an image (3, H, W), but returned one of shape {shape}")
    for name in keys:
        values = sample.get(name)
        if not isinstance(values, Tensor) or len(values) != len(sample["boxes"]):
            count = len(values) if isinstance(values, Tensor) else "no"
            raise ValueError(
                f"the transforms return {len(sample['boxes'])} boxes, but {count} {name}: those that leave out boxes "
                f"must leave out the same entries of {', '.join(keys)}"
            )
    if "masks" in keys and bool((sample["masks"] > 1).any()):
        raise ValueError(
            f"the transforms return masks with the value {int(sample['masks'].max())}, but they must be 0 and 1: give "
            "a fill for the image only, such as fill={tv_tensors.Image: 255, 'others': 0}"
        )
    for name, size in _sizes(sample).items():
        if size != shape[1:] and name in ("boxes", *keys):
            rounded = len(size) == 2 and max(abs(a - b) for a, b in zip(size, shape[1:], strict=True)) == 1
            reason = (
                "the two sizes are rounded differently, as torchvision's rotation does with expand=True: rotate with "
                "expand=False, or leave this transform out"
                if rounded
                else "v2 transforms change both, if they are tv_tensors"
            )
            raise ValueError(
                f"the transforms return {name} of the size {size}, but the image has {shape[1:]}, since "
                f"{' '.join(str(resized).split())}: {reason}"
            )
