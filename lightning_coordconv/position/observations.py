"""Pairs of a position and a target, taken from the samples of a data set."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORED = 255
"""Label of pixels that count neither as a class nor as background, as in Pascal VOC."""
WINDOW = 0.5
"""Height and width of what counts as the content around a place, as shares of the image."""
PATCH = 16
"""Rows and columns that a content is sampled at."""
COMPONENTS = 16
"""Numbers that describe a content."""
PIXELS = 32
"""Pixels drawn from each image, of a label map or of an image."""
LIMIT = 3000
"""Observations that are kept at most: the kernel estimate compares each with each."""


@dataclass(frozen=True)
class Observations:
    """Targets and where they are.

    Attributes:
        what: the target and the position, in words.
        positions: (N, n), scaled such that the image spans -1 to 1, rows first.
        targets: (N,), int64 for classes, float32 for numbers.
        images: (N,), int64, the image of each.
        content: (N, ``COMPONENTS``), what the image shows around the position, as principal components of small
            patches; ``None`` where the target is the content itself.
    """

    what: str
    positions: Tensor
    targets: Tensor
    images: Tensor
    content: Tensor | None


@dataclass
class _Row:
    """What one image tells about one kind of target."""

    positions: Tensor
    targets: Tensor
    patches: Tensor | None


def observe(samples: Iterable[Mapping[str, Any]], seed: int = 0) -> list[Observations]:
    """Collect what a data set tells about its targets and their places.

    Positions are those in the full image where a sample says where it was cut from: by ``origin`` and ``size``, rows
    first, in pixels.

    What is read depends on the keys of the samples: ``boxes`` and ``labels`` (classes and heights of boxes given their
    centres), ``mask`` (label of a pixel given its place), ``label`` with ``top`` and ``left`` or ``xy`` (class given
    the place of the object), a floating-point map of the image's size by any other name (its number at a pixel given
    the place, with the brightness there as content), and, if there is no target at all, ``image`` (brightness of a
    pixel given its place, for generative models). Where a class has no known place there is nothing to observe.

    Args:
        samples: dicts with an ``image`` (C, H, W), at least.
        seed: of the pixels that are drawn.

    Returns:
        One entry for each kind of target, possibly none.
    """
    generator = torch.Generator().manual_seed(seed)
    rows: dict[str, list[_Row]] = {}
    for sample in samples:
        for what, row in _rows(sample, generator).items():
            rows.setdefault(what, []).append(row)
    return [_together(what, found, generator) for what, found in rows.items()]


def is_position(samples: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether the target itself is a position: keypoints, or the coordinates of a pixel."""
    return any({"keypoints", "xy_scaled"} & sample.keys() for sample in samples)


def _rows(sample: Mapping[str, Any], generator: torch.Generator) -> dict[str, _Row]:
    image = sample["image"].float()
    height, width = image.shape[-2:]
    if "boxes" in sample and "labels" in sample:
        boxes = torch.as_tensor(sample["boxes"], dtype=torch.float32).reshape(-1, 4)
        centres = (boxes[:, [1, 0]] + boxes[:, [3, 2]]) / 2
        extents = (boxes[:, [3, 2]] - boxes[:, [1, 0]]).clamp(min=1)
        patches, positions = _patches(image, centres, extents), _scaled(centres, sample)
        return {
            "class of an object given the centre of its box": _Row(positions, sample["labels"].long(), patches),
            "logarithm of an object's height given the centre of its box": _Row(positions, extents[:, 0].log(), None),
        }
    window = torch.tensor([[height, width]]) * WINDOW
    if "mask" in sample:
        cells, labels = _pixels(sample["mask"].reshape(height, width), generator)
        cells, labels = cells[labels != IGNORED], labels[labels != IGNORED]
        patches = _patches(image, cells, window.expand(len(cells), -1))
        return {"class of a pixel given its place": _Row(_scaled(cells, sample), labels.long(), patches)}
    if "label" in sample:
        place = _place(sample)
        if place is None:
            return {}
        patches = _patches(image, place, window)
        return {
            "class given the place of the object": _Row(_scaled(place, sample), sample["label"].reshape(1), patches)
        }
    rows = {}
    for key in _maps(sample):
        cells, values = _pixels(sample[key].reshape(height, width), generator)
        there = image[:, cells[:, 0].long(), cells[:, 1].long()].mT
        rows[f"{key} of a pixel given its place"] = _Row(_scaled(cells, sample), values.float(), there)
    if rows:
        return rows
    cells, values = _pixels(image.mean(0), generator)
    return {"brightness of a pixel given its place": _Row(_scaled(cells, sample), values, None)}


def _maps(sample: Mapping[str, Any]) -> list[str]:
    """Return the keys of floating-point maps that have a number for each pixel of the image."""
    size = sample["image"].shape[-2:]
    return [
        key
        for key, value in sample.items()
        if key != "image"
        and isinstance(value, Tensor)
        and value.is_floating_point()
        and value.shape[-2:] == size
        and value.numel() == size.numel()
    ]


def _place(sample: Mapping[str, Any]) -> Tensor | None:
    """Return row and column of the object, (1, 2), or ``None`` where they are not known."""
    if "top" in sample and "left" in sample:
        return torch.stack([sample["top"], sample["left"]]).float()[None]
    if "xy" in sample:
        return torch.as_tensor(sample["xy"], dtype=torch.float32).flip(-1)[None]
    return None


def _pixels(values: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw the centres (P, 2) of pixels, rows first, and their values (P,) from a map (H, W)."""
    cells = torch.stack([torch.randint(n, (PIXELS,), generator=generator) for n in values.shape], dim=1)
    return cells + 0.5, values[cells[:, 0], cells[:, 1]]


def _scaled(positions: Tensor, sample: Mapping[str, Any]) -> Tensor:
    """Return positions (N, 2) in the sample's image, in pixels, scaled such that the full image spans -1 to 1."""
    origin, size = sample.get("origin", (0, 0)), sample.get("size", sample["image"].shape[-2:])
    return (positions + torch.as_tensor(origin)) / torch.as_tensor(size) * 2 - 1


def _patches(image: Tensor, centres: Tensor, extents: Tensor) -> Tensor:
    """Return what an image (C, H, W) shows around centres (N, 2), as grey patches (N, ``PATCH`` squared).

    Args:
        image: the image.
        centres: rows and columns in pixels.
        extents: heights and widths in pixels, (N, 2).
    """
    steps = torch.linspace(-0.5, 0.5, PATCH)
    offsets = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=-1)
    points = centres[:, None, None] + offsets * extents[:, None, None]
    grid = (points / torch.tensor(image.shape[-2:]) * 2 - 1).flip(-1)
    grey = image.mean(0)[None, None].expand(len(centres), -1, -1, -1)
    return F.grid_sample(grey, grid, align_corners=False).flatten(1)


def _together(what: str, rows: list[_Row], generator: torch.Generator) -> Observations:
    positions, targets = torch.cat([row.positions for row in rows]), torch.cat([row.targets for row in rows])
    images = torch.cat([torch.full((len(row.targets),), number) for number, row in enumerate(rows)])
    chosen = torch.randperm(len(targets), generator=generator)[:LIMIT].sort().values
    content = None
    if rows[0].patches is not None:
        patches = torch.cat([row.patches for row in rows if row.patches is not None])[chosen]
        content = _principal_components(patches)
    return Observations(what, positions[chosen], targets[chosen], images[chosen], content)


def _principal_components(patches: Tensor) -> Tensor:
    """Return the coordinates of patches (N, P) along the directions in which they vary most, (N, ``COMPONENTS``)."""
    centred = patches - patches.mean(0)
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    return centred @ directions[:COMPONENTS].mT
