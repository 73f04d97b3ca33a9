"""Class and function that collect positions, targets and image content from samples, for the command ``advise``."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_coordconv.position.contents import patches_around, principal_components
from lightning_coordconv.position.frames import frame_of
from lightning_coordconv.position.keypoints import POSITIONS, check_pixels, read_keypoints
from lightning_coordconv.position.rounding import to_steps, varying
from lightning_coordconv.position.samples import as_tensors, check_sample, is_number

IGNORED = 255
"""Label of pixels that count neither as a class nor as background, as in Pascal VOC, unless the data have another."""
WINDOW = 0.5
"""Height and width of what counts as the content around a place, as shares of the image."""
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
            ``contents.COMPONENTS``, the brightness, or the distance from the border.
        is_place: whether the positions themselves are the answer; ``targets`` then say which keypoint each is.
    """

    what: str
    positions: Tensor
    targets: Tensor
    images: Tensor
    content: Tensor
    is_place: bool = False


@dataclass
class _Row:
    """What one image tells about one kind of target.

    Attributes:
        positions: see :class:`Observations` for this, ``targets``, ``content`` and ``is_place``.
        kinds: (N,), int64; if given, the mean of all targets of a kind is subtracted from them.
    """

    positions: Tensor
    targets: Tensor
    content: Tensor
    kinds: Tensor | None = None
    is_place: bool = False


def observe(samples: Iterable[Mapping[str, Any]], ignore_index: int = IGNORED, seed: int = 0) -> list[Observations]:
    """Collect what a data set tells about its targets and their places.

    Positions are those in the full image where a sample says where it was cut from: by ``origin`` and ``size``, rows
    first, in pixels.

    What is read depends on the keys of the samples:

    - ``boxes`` and ``labels``: the class of an object given the centre of its box, with what the box shows as content;
      and the height of the box given its centre, with the distance of the centre from the upper or lower border as
      content, for the border limits heights, and is in the image too;
    - ``mask``: the class of a pixel given its place, of pixels that have a class;
    - ``keypoints`` with ``boxes``: row and column of a keypoint in its box, in heights and widths of the box and beyond
      the mean of this keypoint, given the centre of the box, with what the box shows as content, for detectors look for
      keypoints in boxes;
    - ``keypoints`` without ``boxes``, ``xy_scaled``, or ``xy`` without labels: the places themselves, in the image that
      the model sees, for :func:`~lightning_coordconv.position.measure_spread`;
    - ``label``: the class given the place of the object, which is ``top`` and ``left``, or ``xy``, or if a sample has
      neither, the centre of the image's contrast;
    - a floating-point map of the image's size by any other name: its number at a pixel given the place, with the
      brightness there as content; pixels of NaN or infinity do not count;
    - a floating-point number by any other name: it, given the centres of contrast of all channels, with their means and
      standard deviations as content;
    - an ``image`` and no other floating-point numbers, for generative models: the brightness of a pixel given its
      place, with its surroundings as content.

    The content is what is shown around the place, in a window of half the image, unless said otherwise. Samples with
    the same ``episode`` count as one image, and so do those of the same ``path`` or with equal images, as where a rare
    class is drawn several times: they would be known from each other.

    Args:
        samples: dicts with an ``image`` (C, H, W), at least.
        ignore_index: label of the pixels of a ``mask`` that do not count; if negative, of images and objects too.
        seed: of the pixels that are drawn.

    Returns:
        One entry for each kind of target, possibly none.

    Raises:
        ValueError: if keypoints have a wrong shape, or they or boxes no pixels; if a ``label``, ``labels`` or ``mask``
            holds no integers, or a negative one but ``ignore_index``; or if a number is NaN or infinite.
    """
    samples = [as_tensors(sample) for sample in samples]
    for number, sample in enumerate(samples):
        check_sample(sample, number, ignore_index)
    check_pixels(samples)
    generator = torch.Generator().manual_seed(seed)
    rows: dict[str, list[_Row]] = {}
    images: dict[str, list[int]] = {}
    first: dict[object, int] = {}
    for number, sample in enumerate(samples):
        image = int(sample.get("episode", first.setdefault(_identity(sample), number)))
        for what, row in (_rows(sample, ignore_index, generator) | _keypoints(sample)).items():
            rows.setdefault(what, []).append(row)
            images.setdefault(what, []).append(image)
    seen = {what: found for what, found in rows.items() if any(len(row.targets) for row in found)}
    return [_together(what, found, images[what], generator) for what, found in seen.items()]


def _identity(sample: Mapping[str, Any]) -> object:
    """Return what samples of one image have in common: its file or, where that is not known, its pixels."""
    return sample.get("path") or hashlib.sha256(sample["image"].numpy(force=True).tobytes()).digest()


def _rows(sample: Mapping[str, Any], ignore_index: int, generator: torch.Generator) -> dict[str, _Row]:
    image = sample["image"].float()
    height, width = image.shape[-2:]
    if "boxes" in sample and "labels" in sample:
        labels = torch.as_tensor(sample["labels"]).long()
        boxes = torch.as_tensor(sample["boxes"], dtype=torch.float32).reshape(-1, 4)[labels >= 0]
        centres, extents = _centres_and_extents(boxes)
        patches, positions = patches_around(image, centres, extents), _scaled(centres, sample)
        border = torch.minimum(centres[:, :1], height - centres[:, :1]) / height
        return {
            "class of an object given the centre of its box": _Row(positions, labels[labels >= 0], patches),
            "logarithm of an object's height given the centre of its box": _Row(positions, extents[:, 0].log(), border),
        }
    window = torch.tensor([[height, width]]) * WINDOW
    if "mask" in sample:
        mask = sample["mask"].reshape(height, width).long()  # no negative number equals one of uint8
        cells, labels = _pixels(mask, mask != ignore_index, generator)
        patches = patches_around(image, cells, window.expand(len(cells), -1))
        return {"class of a pixel given its place": _Row(_scaled(cells, sample), labels, patches)}
    if "label" in sample:
        place, what = _place(sample), "class given the place of the object"
        if place is None:
            place, what = _centres(image.mean(0, keepdim=True)), "class given the centre of the image's contrast"
        label = torch.as_tensor(sample["label"]).long().reshape(1)
        if label < 0:  # ignore_index
            return {}
        return {what: _Row(_scaled(place, sample), label, patches_around(image, place, window))}
    rows = {}
    for key in _maps(sample):
        map_ = sample[key].reshape(height, width)
        cells, values = _pixels(map_, map_.isfinite(), generator)
        there = image[:, cells[:, 0].long(), cells[:, 1].long()].mT
        rows[f"{key} of a pixel given its place"] = _Row(_scaled(cells, sample), values.float(), there)
    for key in [key for key, value in sample.items() if is_number(value)]:
        places, value = _scaled(_centres(image), sample), torch.as_tensor(sample[key], dtype=torch.float32)
        shown = torch.cat([image.mean((1, 2)), image.std((1, 2))])[None]
        rows[f"{key} given the centres of contrast of the channels"] = _Row(places.view(1, -1), value.view(1), shown)
    if rows or POSITIONS & sample.keys() or _unknown(sample):
        return rows
    grey = image.mean(0)
    cells, values = _pixels(grey, grey.isfinite(), generator)
    around = patches_around(image, cells, window.expand(len(cells), -1), HIDDEN)
    unread = ", ".join(sorted(sample.keys() - {"image", "path", "origin", "size", "episode"}))
    also = f" ({unread} of the samples not read)" if unread else ""
    return {f"brightness of a pixel given its place{also}": _Row(_scaled(cells, sample), values, around)}


def _keypoints(sample: Mapping[str, Any]) -> dict[str, _Row]:
    """Return what a sample tells about its keypoints: in their boxes, or in the image where there are no boxes."""
    found = read_keypoints(sample)
    if found is None:
        return {}
    places, known = found
    objects, kinds = known.nonzero().unbind(1)
    if "boxes" not in sample:
        scaled = places[known] / torch.tensor(sample["image"].shape[-2:]) * 2 - 1
        return {"place of a keypoint in the image": _Row(scaled, kinds, scaled[:, :0], is_place=True)}
    centres, extents = _centres_and_extents(torch.as_tensor(sample["boxes"], dtype=torch.float32).reshape(-1, 4))
    shares = ((to_steps(places) - centres[:, None]) / extents[:, None])[known]
    patches, centred = (
        patches_around(sample["image"].float(), centres, extents)[objects],
        _scaled(centres, sample)[objects],
    )
    return {
        f"{axis} of a keypoint in its box given the centre of the box": _Row(centred, share, patches, kinds)
        for axis, share in zip(("row", "column"), shares.unbind(1), strict=True)
    }


def _centres_and_extents(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return row and column of the centres of boxes (n, 4), and their heights and widths, at least a pixel, (n, 2)."""
    boxes = to_steps(boxes)
    return (boxes[:, [1, 0]] + boxes[:, [3, 2]]) / 2, (boxes[:, [3, 2]] - boxes[:, [1, 0]]).clamp(min=1)


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


def _unknown(sample: Mapping[str, Any]) -> bool:
    """Return whether there are floating-point numbers besides the image: a target, but in no form that is known."""
    others = (value for key, value in sample.items() if key != "image")
    return any(isinstance(value, Tensor) and value.is_floating_point() for value in others)


def _centres(image: Tensor) -> Tensor:
    """Return row and column, (C, 2), around which each channel (C, H, W) differs from its median, in pixels."""
    weight = (image - image.flatten(1).median(1).values[:, None, None]).square()
    weight = torch.where(weight.sum((1, 2), keepdim=True) > 0, weight, 1.0)  # without contrast the middle
    rows, columns = (torch.arange(n) + 0.5 for n in image.shape[-2:])
    return torch.stack([(weight.sum(2) @ rows), (weight.sum(1) @ columns)], dim=1) / weight.sum((1, 2))[:, None]


def _place(sample: Mapping[str, Any]) -> Tensor | None:
    """Return row and column of the object, (1, 2), or ``None`` where they are not known."""
    if "top" in sample and "left" in sample:
        return torch.tensor([[float(sample["top"]), float(sample["left"])]])
    if "xy" in sample:
        return torch.as_tensor(sample["xy"], dtype=torch.float32).flip(-1)[None]
    return None


def _pixels(values: Tensor, known: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw the centres (P, 2) of known pixels, rows first, and their values (P,) from a map (H, W).

    They are drawn among all pixels. Those that are not known are replaced by other known ones, each at most once.
    """
    cells = torch.stack([torch.randint(n, (PIXELS,), generator=generator) for n in values.shape], dim=1)
    kept = known[cells[:, 0], cells[:, 1]]
    if not bool(kept.all()):
        cells = cells[kept]
        others = known.clone()
        others[cells[:, 0], cells[:, 1]] = False
        found = others.nonzero()
        chosen = torch.randperm(len(found), generator=generator)[: PIXELS - len(cells)]
        cells = torch.cat([cells, found[chosen]])
    return cells + 0.5, values[cells[:, 0], cells[:, 1]]


def _scaled(positions: Tensor, sample: Mapping[str, Any]) -> Tensor:
    """Return positions (N, 2) in the sample's image, in pixels, scaled such that the full image spans -1 to 1."""
    origin, size = frame_of(sample)
    return (positions + torch.as_tensor(origin)) / torch.as_tensor(size) * 2 - 1


def _together(what: str, rows: list[_Row], images: list[int], generator: torch.Generator) -> Observations:
    positions, targets = torch.cat([row.positions for row in rows]), torch.cat([row.targets for row in rows])
    kinds = [row.kinds for row in rows if row.kinds is not None]
    if kinds:
        _, kind = torch.cat(kinds).unique(return_inverse=True)
        one_hot = F.one_hot(kind).float()
        targets = varying(targets - (one_hot.mT @ targets / one_hot.sum(0))[kind], targets)
    groups = torch.cat([torch.full((len(row.targets),), image) for row, image in zip(rows, images, strict=True)])
    chosen = torch.randperm(len(targets), generator=generator)[:LIMIT].sort().values
    content = torch.cat([row.content for row in rows])[chosen]
    components = principal_components(content)
    return Observations(what, positions[chosen], targets[chosen], groups[chosen], components, rows[0].is_place)
