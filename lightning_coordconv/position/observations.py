"""Collects pairs of a position and a target from the samples of a data set."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

POSITIONS = {"keypoints", "xy_scaled"}
"""Keys of targets that are positions."""
IGNORED = 255
"""Label of pixels that count neither as a class nor as background, as in Pascal VOC, unless the data have another."""
WINDOW = 0.5
"""Height and width of what counts as the content around a place, as shares of the image."""
PATCH = 16
"""Rows and columns that a content is sampled at."""
COMPONENTS = 16
"""Numbers that describe a content."""
HIDDEN = 1.5
"""Pixels around a place whose brightness is the target, in rows and in columns, that its content leaves out."""
PIXELS = 32
"""Pixels drawn from each image, of a label map or of an image."""
LIMIT = 2500
"""Observations that are kept at most: the kernel estimate compares each with each."""


@dataclass(frozen=True)
class Observations:
    """Targets and where they are.

    Attributes:
        what: the target and the position, in words.
        positions: (N, n), scaled such that the image spans -1 to 1, rows first.
        targets: (N,), int64 for classes, float32 for numbers.
        images: (N,), int64, the image of each, or the episode.
        content: (N, K), what the image shows at the position: principal components of small patches, at most
            ``COMPONENTS``, the brightness, or the distance from the border.
    """

    what: str
    positions: Tensor
    targets: Tensor
    images: Tensor
    content: Tensor


@dataclass
class _Row:
    """What one image tells about one kind of target."""

    positions: Tensor
    targets: Tensor
    content: Tensor


def observe(samples: Iterable[Mapping[str, Any]], ignore_index: int = IGNORED, seed: int = 0) -> list[Observations]:
    """Collect what a data set tells about its targets and their places.

    Positions are those in the full image where a sample says where it was cut from: by ``origin`` and ``size``, rows
    first, in pixels.

    What is read depends on the keys of the samples:

    - ``boxes`` and ``labels``: the class of an object given the centre of its box, with what the box shows as content;
      and the height of the box given its centre, with the distance of the centre from the upper or lower border as
      content, for the border limits heights, and is in the image too;
    - ``mask``: the class of a pixel given its place;
    - ``label``: the class given the place of the object, which is ``top`` and ``left``, or ``xy``, or if a sample has
      neither, the centre of the image's contrast;
    - a floating-point map of the image's size by any other name: its number at a pixel given the place, with the
      brightness there as content;
    - a floating-point number by any other name: it, given the centres of contrast of all channels, with their means and
      standard deviations as content;
    - only an ``image``, for generative models: the brightness of a pixel given its place, with its surroundings as
      content.

    A class is an integer; those below 0, as the -100 that torch's losses ignore, do not count.

    The content is what is shown around the place, in a window of half the image, unless said otherwise. Samples with
    the same ``episode`` count as one image.

    Args:
        samples: dicts with an ``image`` (C, H, W), at least.
        ignore_index: label of the pixels of a ``mask`` that do not count.
        seed: of the pixels that are drawn.

    Returns:
        One entry for each kind of target, possibly none.

    Raises:
        ValueError: for classes that are no integers, and for targets that are infinite or NaN, with the number of the
            sample.
    """
    generator = torch.Generator().manual_seed(seed)
    rows: dict[str, list[_Row]] = {}
    images: dict[str, list[int]] = {}
    for number, sample in enumerate(samples):
        for what, row in _rows(sample, ignore_index, generator).items():
            if not row.targets.isfinite().all():
                raise ValueError(f"sample {number} of those that were read has an infinite or NaN target: {what}")
            rows.setdefault(what, []).append(row)
            images.setdefault(what, []).append(int(sample.get("episode", number)))
    seen = {what: found for what, found in rows.items() if any(len(row.targets) for row in found)}
    return [_together(what, found, images[what], generator) for what, found in seen.items()]


def is_position(samples: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether the target itself is a position: keypoints, or the coordinates of a pixel."""
    return any(POSITIONS & sample.keys() for sample in samples)


def _rows(sample: Mapping[str, Any], ignore_index: int, generator: torch.Generator) -> dict[str, _Row]:
    image = sample["image"].float()
    height, width = image.shape[-2:]
    if "boxes" in sample and "labels" in sample:
        boxes = torch.as_tensor(sample["boxes"], dtype=torch.float32).reshape(-1, 4)
        centres = (boxes[:, [1, 0]] + boxes[:, [3, 2]]) / 2
        extents = (boxes[:, [3, 2]] - boxes[:, [1, 0]]).clamp(min=1)
        patches, positions = _patches(image, centres, extents), _scaled(centres, sample)
        border = torch.minimum(centres[:, :1], height - centres[:, :1]) / height
        labels, known = _classes(sample, "labels")
        return {
            "class of an object given the centre of its box": _Row(positions[known], labels[known], patches[known]),
            "logarithm of an object's height given the centre of its box": _Row(positions, extents[:, 0].log(), border),
        }
    window = torch.tensor([[height, width]]) * WINDOW
    if "mask" in sample:
        classes, known = _classes(sample, "mask")
        cells, labels = _pixels(classes.where(known, ignore_index).reshape(height, width), generator)
        cells, labels = cells[labels != ignore_index], labels[labels != ignore_index]
        patches = _patches(image, cells, window.expand(len(cells), -1))
        return {"class of a pixel given its place": _Row(_scaled(cells, sample), labels, patches)}
    if "label" in sample:
        place, what = _place(sample), "class given the place of the object"
        if place is None:
            place, what = _centres(image.mean(0, keepdim=True)), "class given the centre of the image's contrast"
        label, known = (value.reshape(1) for value in _classes(sample, "label"))
        return {what: _Row(_scaled(place, sample)[known], label[known], _patches(image, place, window)[known])}
    rows = {}
    for key in _maps(sample):
        cells, values = _pixels(sample[key].reshape(height, width), generator)
        there = image[:, cells[:, 0].long(), cells[:, 1].long()].mT
        rows[f"{key} of a pixel given its place"] = _Row(_scaled(cells, sample), values.float(), there)
    for key in _numbers(sample):
        places, value = _scaled(_centres(image), sample), torch.as_tensor(sample[key], dtype=torch.float32)
        shown = torch.cat([image.mean((1, 2)), image.std((1, 2))])
        what = f"{key} given the centres of contrast of the channels"
        rows[what] = _Row(places.flatten()[None], value.reshape(1), shown[None])
    if rows or POSITIONS & sample.keys():
        return rows
    cells, values = _pixels(image.mean(0), generator)
    around = _patches(image, cells, window.expand(len(cells), -1), HIDDEN)
    return {"brightness of a pixel given its place": _Row(_scaled(cells, sample), values, around)}


def _classes(sample: Mapping[str, Any], key: str) -> tuple[Tensor, Tensor]:
    """Return the classes under a key, int64, and which of them count.

    Raises:
        ValueError: if they are no integers.
    """
    classes = torch.as_tensor(sample[key])
    if classes.is_floating_point() or classes.is_complex():
        raise ValueError(
            f"{key!r} must hold integers, which are classes, got {classes.dtype}: give numbers another name"
        )
    return classes.long(), classes >= 0


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


def _numbers(sample: Mapping[str, Any]) -> list[str]:
    """Return the keys of single floating-point numbers."""
    return [
        key
        for key, value in sample.items()
        if isinstance(value, float) or (isinstance(value, Tensor) and value.is_floating_point() and value.numel() == 1)
    ]


def _centres(image: Tensor) -> Tensor:
    """Return row and column, (C, 2), around which each channel (C, H, W) differs from its median, in pixels."""
    weight = (image - image.flatten(1).median(1).values[:, None, None]).square()
    total = weight.sum((1, 2)).clamp(min=1e-12)
    rows, columns = (torch.arange(n) + 0.5 for n in image.shape[-2:])
    return torch.stack([(weight.sum(2) @ rows), (weight.sum(1) @ columns)], dim=1) / total[:, None]


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


def _patches(image: Tensor, centres: Tensor, extents: Tensor, hidden: float = 0) -> Tensor:
    """Return what an image (C, H, W) shows around centres (N, 2), as grey patches (N, ``PATCH`` squared).

    Args:
        image: the image.
        centres: rows and columns in pixels.
        extents: heights and widths in pixels, (N, 2).
        hidden: distance from the centre in rows and columns, in pixels, up to which 0 is shown.
    """
    steps = torch.linspace(-0.5, 0.5, PATCH)
    offsets = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=-1) * extents[:, None, None]
    grid = ((centres[:, None, None] + offsets) / torch.tensor(image.shape[-2:]) * 2 - 1).flip(-1)
    grey = image.mean(0)[None, None].expand(len(centres), -1, -1, -1)
    seen = F.grid_sample(grey, grid, align_corners=False)[:, 0]
    return (seen * (offsets.abs().amax(-1) >= hidden)).flatten(1)


def _together(what: str, rows: list[_Row], images: list[int], generator: torch.Generator) -> Observations:
    positions, targets = torch.cat([row.positions for row in rows]), torch.cat([row.targets for row in rows])
    groups = torch.cat([torch.full((len(row.targets),), image) for row, image in zip(rows, images, strict=True)])
    chosen = torch.randperm(len(targets), generator=generator)[:LIMIT].sort().values
    content = torch.cat([row.content for row in rows])[chosen]
    return Observations(what, positions[chosen], targets[chosen], groups[chosen], _principal_components(content))


def _principal_components(patches: Tensor) -> Tensor:
    """Return the coordinates of patches (N, P) along the directions in which they vary most, ``COMPONENTS`` at most."""
    centred = patches - patches.mean(0)
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    return centred @ directions[:COMPONENTS].mT
