"""Functions that tell differences in the data from those that rounding makes, of numbers and of places."""

import torch
from torch import Tensor

ROUNDING = 32 * torch.finfo(torch.float32).eps
"""Share of a magnitude by which float32 can be off in sums over a patch; a step of 16 bits is four times as much."""
STEPS = 64
"""Parts of a pixel in which places are read: files and float32 round them to less."""


def deviations(numbers: Tensor) -> Tensor:
    """Return how numbers (N, K) differ from the mean of their column, in float64, and 0 in columns of rounding."""
    return varying(numbers.double() - numbers.double().mean(0), numbers)


def varying(differences: Tensor, numbers: Tensor) -> Tensor:
    """Return differences from a mean (N, ...), and 0 in columns that hold no more than rounding.

    Args:
        differences: their own magnitude no longer tells how large rounding is.
        numbers: what they were computed from, of any shape.
    """
    return torch.where(differences.std(0, correction=0) > ROUNDING * numbers.abs().max(), differences, 0)


def in_units(differences: Tensor) -> Tensor:
    """Return differences (N, ...) in units of the standard deviation of each column; zeros stay zeros."""
    scale = differences.std(0, correction=0)
    return differences / torch.where(scale > 0, scale, 1)


def to_steps(places: Tensor) -> Tensor:
    """Return places or lengths in pixels, rounded to ``STEPS`` in a pixel, of which sums are exact."""
    return (places * STEPS).round() / STEPS
