"""Functions that describe what images show around places, by numbers whose distances mean something."""

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_coordconv.position.rounding import deviations, varying

PATCH = 16
"""Rows and columns that a content is sampled at."""
COMPONENTS = 16
"""Numbers that describe a content."""


def patches_around(image: Tensor, centres: Tensor, extents: Tensor, hidden: float = 0) -> Tensor:
    """Return what an image (C, H, W) shows around centres (N, 2), as grey patches (N, ``PATCH`` squared).

    Args:
        image: the image.
        centres: rows and columns in pixels.
        extents: heights and widths in pixels, (N, 2).
        hidden: distance from the centre in rows and columns, in pixels, up to which 0 is shown.
    """
    steps = torch.linspace(-0.5, 0.5, PATCH, dtype=torch.float64)  # in float32, equal contents differ with their place
    offsets = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=-1) * extents[:, None, None]
    grid = ((centres[:, None, None] + offsets) / torch.tensor(image.shape[-2:]) * 2 - 1).flip(-1)
    grey = image.mean(0).double()[None, None].expand(len(centres), -1, -1, -1)
    seen = F.grid_sample(grey, grid, align_corners=False)[:, 0]
    return (seen * (offsets.abs().amax(-1) >= hidden)).flatten(1)


def principal_components(patches: Tensor) -> Tensor:
    """Return the coordinates of patches (N, P) along the directions in which they vary most, ``COMPONENTS`` at most."""
    if not patches.numel():
        return patches
    centred = deviations(patches)
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    return varying(centred @ directions[:COMPONENTS].mT, patches).float()
