"""Function that measures on latent interpolations how evenly objects move and how many frames show them intact."""

import torch
from torch import Tensor

from lightning_coordconv.generative.metrics.objects import find_flaws, find_objects


def interpolation_smoothness(frames: Tensor, radius: int) -> dict[str, Tensor]:
    """Measure whether objects move from frame to frame of interpolations, or fade in one place and appear in another.

    Args:
        frames: images in [-1, 1] of P interpolations, (P, T, 3, H, W), T at least 2.
        radius: of the objects in pixels, see :func:`~lightning_coordconv.generative.find_objects`.

    Returns:
        ``intact``: the share of frames that are well formed; an object that fades is missing or broken halfway.
        ``jump``: the longest move of an object between two frames as a share of its whole path, averaged over
        interpolations and objects: 1 / (T - 1) if it moves evenly, 1 if it moves at once. An object that is lost, or
        never moves, counts as 1. Both are NaN if a value of a frame is.

    Raises:
        ValueError: for other shapes.
    """
    if frames.ndim != 5 or frames.shape[1] < 2:
        raise ValueError(f"expected at least two frames a path, (P, T, 3, H, W), got shape {tuple(frames.shape)}")
    objects = find_objects(frames.flatten(0, 1), radius)
    intact = ~torch.stack(list(find_flaws(objects, radius).values())).any(0)
    centres = objects.centres.unflatten(0, frames.shape[:2])  # (P, T, 2, 2)
    moves = torch.linalg.vector_norm(centres.diff(dim=1), dim=-1)  # (P, T - 1, 2)
    length = moves.sum(1)
    jump = torch.where(length > 0, moves.amax(1) / length, 1.0)  # the NaN of a lost object is not above 0
    results = {"intact": intact.float().mean(), "jump": jump.mean()}
    return {name: value.masked_fill(frames.isnan().any(), torch.nan) for name, value in results.items()}
