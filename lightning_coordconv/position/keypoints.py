"""Functions that read a sample's keypoints, check that they are in pixels, and measure their spread over all images."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_coordconv.position.dependence import Dependence, Share
from lightning_coordconv.position.folds import FOLDS, frequent, resampled

POSITIONS = {"keypoints", "xy_scaled", "xy"}
"""Keys of targets that are positions."""
PLACED = {"label", "boxes", "mask"}
"""Keys of targets beside which ``xy`` is the place of the object, and no target."""


def read_keypoints(sample: Mapping[str, Any]) -> tuple[Tensor, Tensor] | None:
    """Return the keypoints of a sample's objects, (n, K, 2), row and column in pixels, and which are known, (n, K).

    Args:
        sample: with ``keypoints``, x and y in pixels and perhaps COCO's visibility, which is 0 for unknown ones,
            (n, K, 2 or 3), or (K, 2 or 3) of one object; or with ``xy_scaled`` (2,), for which -1 to 1 spans the image,
            unless ``xy`` gives the place in pixels; or with ``xy`` (2,) and no other target, in pixels of the image, or
            of its file if a ``size`` without an ``origin`` is the width and height of that.

    Returns:
        ``None`` for a sample without keypoints.

    Raises:
        ValueError: if keypoints have another shape.
    """
    extent = torch.tensor(sample["image"].shape[:-3:-1])  # width and height
    if "keypoints" in sample:
        found = torch.as_tensor(sample["keypoints"]).float()
        if found.dim() not in (2, 3) or found.shape[-1] not in (2, 3):
            raise ValueError(f"keypoints must have the shape (n, K, 2 or 3) or (K, 2 or 3), got {tuple(found.shape)}")
        found = found[None] if found.dim() == 2 else found
    elif "xy" in sample and ("xy_scaled" in sample or not PLACED & sample.keys()):
        size = torch.as_tensor(extent if "origin" in sample else sample.get("size", extent))
        found = ((torch.as_tensor(sample["xy"]) + 0.5) / size * extent).float().reshape(1, 1, 2)
    elif "xy_scaled" in sample:
        found = ((torch.as_tensor(sample["xy_scaled"]) + 1) / 2 * extent).float().reshape(1, 1, 2)
    else:
        return None
    known = found.isfinite().all(-1)
    return found[..., [1, 0]], known & (found[..., 2] > 0) if found.shape[-1] == 3 else known


def check_pixels(samples: Iterable[Mapping[str, Any]]) -> None:
    """Check that some keypoint and some box lie beyond the first pixel; as shares of the image all would lie there.

    Raises:
        ValueError: if none does, naming the lowest and the highest number.
    """
    samples = list(samples)
    found = [read_keypoints(sample) for sample in samples if "keypoints" in sample]
    keypoints = [places[known].flatten() for places, known in filter(None, found)]
    boxes = [torch.as_tensor(sample["boxes"]).flatten() for sample in samples if "boxes" in sample]
    for what, parts in (("keypoints must be x and y", keypoints), ("boxes must be x1, y1, x2, y2", boxes)):
        numbers = torch.cat([torch.zeros(0), *parts])
        if len(numbers) and float(numbers.abs().max()) <= 1:
            low, high = float(numbers.min()), float(numbers.max())
            raise ValueError(f"{what} in pixels, but all numbers are from {low:g} to {high:g}")


def measure_spread(what: str, places: Tensor, kinds: Tensor, groups: Tensor, seed: int = 0) -> Dependence:
    """Measure how far keypoints lie from their mean place.

    A keypoint is a position, so knowing its position tells all of it. What has to be measured is how much there is to
    tell: a keypoint that never moves is predicted by its mean, without coordinates. The measure is the root mean square
    distance of the keypoints of held-out images from the mean place of the same keypoint in the training images. It is
    an upper bound of what coordinates can add, for the content can tell a part of the place, such as that of a mouth in
    a cropped face. Keypoints in fewer images than there are folds do not count.

    Args:
        what: a description for the report.
        places: (N, 2), scaled such that the image spans -1 to 1.
        kinds: (N,), int64, which keypoint of an object each is; each kind has a mean place.
        groups: (N,), int64, the image of each.
        seed: of the folds and of the bootstrap.

    Returns:
        The distance as ``share``, in heights and widths of the image, with a bootstrap over images.
    """
    kept = frequent(kinds, groups)
    places, kinds, groups = places[kept], kinds[kept], groups[kept]
    what += "" if kept.all() else f", of keypoints in at least {FOLDS} images"
    if not len(places):
        return Dependence(what, Share(0.0, 0.0, 0.0), None, 0, 0, 0.0, 0.0, float("inf"), is_place=True)
    generator = torch.Generator().manual_seed(seed)
    names, groups = groups.unique(return_inverse=True)
    fold = torch.randperm(len(names), generator=generator)[groups] % FOLDS
    _, kinds = kinds.unique(return_inverse=True)
    squares = torch.zeros(len(places))
    for number in range(FOLDS):
        training = F.one_hot(kinds).float() * (fold != number)[:, None]
        means = training.mT @ places / training.sum(0)[:, None].clamp(min=1)
        squares = torch.where(fold == number, ((places - means[kinds]) / 2).square().sum(1), squares)
    sums = torch.zeros(2, len(names)).index_add_(1, groups, torch.stack([squares, torch.ones_like(squares)]))
    drawn = resampled(sums, generator)
    low, high = (drawn[0] / drawn[1]).sqrt().quantile(torch.tensor([0.025, 0.975])).tolist()
    share = Share(float(squares.mean().sqrt()), low, high)
    return Dependence(what, share, None, len(names), len(places), 0.0, share.value, float("inf"), is_place=True)
