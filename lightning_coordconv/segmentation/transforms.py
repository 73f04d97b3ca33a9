"""Class that applies a user's transforms to an image and its mask, and checks what they return."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2.functional import pil_to_tensor, to_dtype

LABELLED = 1_000_000
"""Added to the labels of a copy of the mask; smaller values of it come from the filling of a transform."""
TOLERANCE = 1e-3
"""By how much values of an image may leave [0, 1], as resampling and changes of colour let them."""


class ImageAndMask:
    """The transforms of a data set, one after the other.

    v2 transforms treat masks (``tv_tensors.Mask``) as images are treated, but by the nearest pixel, and do not
    change their colours. Pixels that a rotation, padding or another transform brings in get ``ignore_index``, whatever
    the transform fills them with.

    Args:
        changes: v2 transforms. Each gets and returns a dict with an ``image``, a ``mask``, and ``labelled``, a copy of
            the mask by which changes of labels are found.
        ignore_index: value of pixels without a class.
    """

    def __init__(self, changes: Iterable[Callable[[Any], Any]], ignore_index: int) -> None:
        self.changes = list(changes)
        self.ignore_index = ignore_index

    def __call__(self, image: Image.Image, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the image, float32 (3, H, W) in [0, 1], and the mask, int64 (H, W).

        Args:
            image: in RGB.
            mask: int64 (H, W).

        Raises:
            ValueError: if the transforms do not return an image (3, H, W) in [0, 1] and a mask of its size, or change
                the type or the values of the mask, or leave no pixel with a class.
        """
        sample: Any = {
            "image": tv_tensors.Image(pil_to_tensor(image)),
            "mask": tv_tensors.Mask(mask),
            "labelled": tv_tensors.Mask(mask + LABELLED),
        }
        for change in self.changes:
            sample = change(sample)
        _check(sample)
        values = to_dtype(sample["image"].as_subclass(Tensor), torch.float32, scale=True)
        if not bool(((values >= -TOLERANCE) & (values <= 1 + TOLERANCE)).all()):
            raise ValueError(
                f"the transforms return an image with values from {values.min().item():g} to {values.max().item():g}, "
                "but it must be uint8, or floating-point in [0, 1]: leave out the normalisation, which follows them"
            )
        found, labelled = (sample[name].as_subclass(Tensor) for name in ("mask", "labelled"))
        inside = labelled >= LABELLED
        changed = inside & (labelled - LABELLED != found)
        if bool(changed.any()) or not bool(torch.isin(found[inside], mask).all()):
            raise ValueError("the transforms change labels of the mask; they may only move, repeat or leave out pixels")
        found = torch.where(inside, found, self.ignore_index)
        if not bool((found != self.ignore_index).any()):
            raise ValueError("the transforms leave no pixel of a class in the mask")
        return values, found


def _check(sample: Any) -> None:
    """Check the types and the shapes of what transforms return."""
    names = ("image", "mask", "labelled")
    if not isinstance(sample, Mapping) or not all(isinstance(sample.get(name), Tensor) for name in names):
        raise ValueError(f"the transforms must return a dict with the tensors {', '.join(names)}, as v2 transforms do")
    image, size = sample["image"], tuple(sample["image"].shape[-2:])
    if image.dim() != 3 or image.shape[0] != 3:
        raise ValueError(
            f"the transforms must return an image (3, H, W), but returned one of shape {tuple(image.shape)}"
        )
    for name in names[1:]:
        mask = sample[name]
        if mask.dtype != torch.int64:
            raise ValueError(
                f"the transforms return a mask of dtype {mask.dtype}, but its labels must stay torch.int64"
            )
        if tuple(mask.shape) != size:
            raise ValueError(
                f"the transforms return an image of size {size} with a mask of shape {tuple(mask.shape)}: those that "
                "move pixels must move the image and all masks alike, as v2 transforms do"
            )
