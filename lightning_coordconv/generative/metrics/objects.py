"""Functions that find the blue and the red object in images of two-object Sort-of-CLEVR, and their flaws."""

from typing import NamedTuple

import torch
from torch import Tensor

COLOURS = ("blue", "red")
MIN_FIT = 0.7
"""Smallest IoU with a square or a circle at which an object counts as one."""


class Objects(NamedTuple):
    """The blue and the red object that were found in each image."""

    centres: Tensor
    """(x, y) of the centre of mass in pixels, (B, 2, 2); NaN if no pixel has the colour."""
    area: Tensor
    """Number of pixels of that colour, (B, 2)."""
    fit: Tensor
    """IoU of these pixels with the square or the circle at their centre, whichever fits better, (B, 2)."""
    circle: Tensor
    """Whether the circle fits better, (B, 2)."""


def find_objects(images: Tensor, radius: int) -> Objects:
    """Find the objects of two-object Sort-of-CLEVR images.

    A pixel belongs to an object if its green is negative: to the red object if it is more red than blue, else to the
    blue one. (The paper does not say how it found centres.)

    Args:
        images: RGB in [-1, 1], (B, 3, S, S).
        radius: half the side of the squares and the radius of the circles in pixels.

    Raises:
        ValueError: for images of another shape.

    Example:
        >>> image = torch.ones(1, 3, 8, 8)
        >>> image[:, :2, 1:4, 2:5] = -1  # a blue square of 3 x 3 pixels
        >>> blue, red = find_objects(image, radius=1).centres[0]
        >>> blue
        tensor([3., 2.])
    """
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise ValueError(f"expected square RGB images (B, 3, S, S), got shape {tuple(images.shape)}")
    red, green, blue = images.unbind(1)
    pixels = torch.stack([(green < 0) & (blue >= red), (green < 0) & (red > blue)], dim=1)  # (B, 2, S, S)
    area = pixels.sum((2, 3))
    position = torch.arange(images.shape[-1], device=images.device)
    centres = torch.stack([(pixels.sum(axis) * position).sum(-1) for axis in (2, 3)], dim=-1) / area[..., None]
    middle = centres.nan_to_num().round()
    across = (position - middle[..., 0, None]).abs()[..., None, :]  # (B, 2, 1, S)
    down = (position - middle[..., 1, None]).abs()[..., :, None]  # (B, 2, S, 1)
    square = (across <= radius) & (down <= radius)
    circle = across.square() + down.square() <= radius**2
    ious = [(pixels & shape).sum((2, 3)) / (pixels | shape).sum((2, 3)) for shape in (square, circle)]
    return Objects(centres, area, torch.maximum(*ious), ious[1] > ious[0])


def find_flaws(objects: Objects, radius: int) -> dict[str, Tensor]:
    """Return what is wrong with each image, judged by the worse of its two objects.

    ``missing``: an object has less than half the pixels of a circle. ``extra``: otherwise, one has more than 1.5 times
    the pixels of a square, as two objects would. ``broken``: otherwise, one has an IoU below 0.7 with both the square
    and the circle. (Real objects have at least 0.78, the least if a corner is hidden.)

    Args:
        objects: the result of :func:`find_objects`.
        radius: the same as there.

    Returns:
        Booleans (B,) by name; an image with no flaw is well formed.
    """
    circle, square = 3.1416 * radius**2, (2 * radius + 1) ** 2
    missing = (objects.area < circle / 2).any(1)
    extra = (objects.area > 1.5 * square).any(1) & ~missing
    broken = (objects.fit < MIN_FIT).any(1) & ~missing & ~extra
    return {"missing": missing, "extra": extra, "broken": broken}
