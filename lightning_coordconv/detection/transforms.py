"""Apply a user's transforms to an image and its boxes, and check what they return."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import to_dtype

from lightning_coordconv.core.survey import NAMED, spread

PER_BOX = ("labels", "iscrowd", "filled")
TRIED = 64
"""Number of images, evenly spread, whose boxes are transformed before training."""
TOLERANCE = 1e-3
"""By how much values of an image may leave [0, 1], as resampling and changes of colour let them."""


class ImageAndBoxes:
    """The transforms of a data set, one after the other.

    Boxes are returned as x1, y1, x2, y2, whatever their format, cut at the border of the image; those of which less
    than a pixel is left are left out.

    Args:
        changes: v2 transforms. Each gets and returns a dict with an image, boxes and :data:`PER_BOX`.
    """

    def __init__(self, changes: Iterable[Callable[[Any], Any]]) -> None:
        self.changes = list(changes)
        boxes = [v2.ConvertBoundingBoxFormat("XYXY"), v2.ClampBoundingBoxes()]
        self.tidy = v2.Compose([*boxes, v2.SanitizeBoundingBoxes(labels_getter=_per_box)])

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Return the transformed sample, whose ``image`` is float32 in [0, 1].

        Raises:
            ValueError: if the transforms do not return an image (3, H, W) in [0, 1], or as many boxes as labels.
        """
        for change in self.changes:
            sample = change(sample)
        if self.changes:
            _check(sample)
            sample = self.tidy(sample)
        image = to_dtype(sample["image"].as_subclass(Tensor), torch.float32, scale=True)
        if self.changes and not bool(((image >= -TOLERANCE) & (image <= 1 + TOLERANCE)).all()):
            low, high = image.min().item(), image.max().item()
            raise ValueError(
                f"the transforms return an image with values from {low:g} to {high:g}, but it must be uint8, or "
                "floating-point in [0, 1]: convert with ToDtype(torch.float32, scale=True), and leave the "
                "normalisation to the detector"
            )
        return {**sample, "image": image}


def try_transforms(
    transform: ImageAndBoxes, images: Sequence[Mapping[str, Any]], objects: Mapping[int, Mapping[str, Tensor]]
) -> str | None:
    """Transform the boxes of some images, which are blank, and count the images whose boxes the transforms all drop.

    Random numbers of the run are kept.

    Args:
        transform: of the data set.
        images: with ``id``, ``file_name``, ``width`` and ``height``.
        objects: by the image's id, ``boxes`` and one of each of :data:`PER_BOX` for each box.

    Returns:
        A line that names such images; None if there are none.

    Raises:
        ValueError: if no image keeps a box.
    """
    boxed = [image for image in images if len(objects[image["id"]]["boxes"])]
    tried = [boxed[number] for number in spread(len(boxed), TRIED)] if transform.changes else []
    emptied = []
    with isolate_rng():
        for image in tried:
            size = (image["height"], image["width"])
            blank = tv_tensors.Image(torch.zeros((3, *size), dtype=torch.uint8))
            known = objects[image["id"]]
            boxes = tv_tensors.BoundingBoxes(known["boxes"], format="XYXY", canvas_size=size)
            if not len(transform({**known, "image": blank, "boxes": boxes})["boxes"]):
                emptied.append(image["file_name"])
    if not emptied:
        return None
    more = f" and {len(emptied) - NAMED} more" if len(emptied) > NAMED else ""
    named = ", ".join(emptied[:NAMED]) + more
    line = f"the transforms leave no box in {len(emptied)} of {len(tried)} images tried: {named}"
    if len(emptied) == len(tried):
        raise ValueError(f"{line}; there would be nothing to train on")
    return line


def _check(sample: Any) -> None:
    """Check that a sample has an image of three channels, boxes, and one of each of :data:`PER_BOX` for each box."""
    if not isinstance(sample, Mapping) or not isinstance(sample.get("image"), Tensor):
        raise ValueError("the transforms must return a dict with the image as a tensor, as v2 transforms do")
    if not isinstance(sample.get("boxes"), tv_tensors.BoundingBoxes):
        raise ValueError("the transforms must return boxes as tv_tensors.BoundingBoxes, as v2 transforms do")
    shape = tuple(sample["image"].shape)
    if len(shape) != 3 or shape[0] != 3:
        raise ValueError(f"the transforms must return an image (3, H, W), but returned one of shape {shape}")
    for name in PER_BOX:
        values = sample.get(name)
        if not isinstance(values, Tensor) or len(values) != len(sample["boxes"]):
            count = len(values) if isinstance(values, Tensor) else "no"
            raise ValueError(
                f"the transforms return {len(sample['boxes'])} boxes, but {count} {name}: those that leave out boxes "
                f"must leave out the same entries of {', '.join(PER_BOX)}"
            )


def _per_box(sample: Mapping[str, Any]) -> tuple[Tensor, ...]:
    return tuple(sample[name] for name in PER_BOX)
