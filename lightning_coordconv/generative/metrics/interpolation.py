"""Whether objects move or fade while a latent vector changes into another."""

import torch
from torch import Tensor

from lightning_coordconv.generative.metrics.objects import find_objects, flaws


def path_smoothness(frames: Tensor, radius: int) -> dict[str, Tensor]:
    """Measure interpolations: do the objects move from frame to frame, or fade here and appear there?

    Args:
        frames: images in [-1, 1] along each path, (P, T, 3, H, W), T at least 2.
        radius: of the objects, see :func:`~lightning_coordconv.generative.metrics.objects.find_objects`.

    Returns:
        ``intact``: the share of frames that are well formed; a fading object is missing or broken half-way. ``jump``:
        the longest move of an object between two frames as a share of its whole way, the mean over paths and objects:
        1 / (T - 1) if it moves evenly, 1 if all at once; an object that is lost, or never moves, counts 1.

    Raises:
        ValueError: for other shapes.
    """
    if frames.ndim != 5 or frames.shape[1] < 2:
        raise ValueError(f"expected paths of two images or more, (P, T, 3, H, W), got shape {tuple(frames.shape)}")
    objects = find_objects(frames.flatten(0, 1), radius)
    intact = ~torch.stack(list(flaws(objects, radius).values())).any(0)
    centres = objects.centres.unflatten(0, frames.shape[:2])  # (P, T, 2, 2)
    moves = torch.linalg.vector_norm(centres.diff(dim=1), dim=-1)  # (P, T - 1, 2)
    way = moves.sum(1)
    jump = torch.where(way > 0, moves.amax(1) / way, 1.0)  # (NaN, where an object is lost, is not above 0)
    return {"intact": intact.float().mean(), "jump": jump.mean()}
