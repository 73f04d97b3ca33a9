"""Class and function that report images' sizes and crops, and how crops, batches and resizing change predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from lightning_coordconv.core.survey import spread
from lightning_coordconv.position.features import run, takes_list

SHIFT = 32
"""Pixels by which the content is moved: a multiple of the total stride of common networks."""
SCALE = 1.25
READINGS = 16
"""Samples that are read twice: a flip that half of the readings have is missed with a chance of 1 in 65,536."""
PROBES = 4
"""Images that the model is run on to see how its predictions react."""


@dataclass(frozen=True)
class Frames:
    """How images reach the model, and how its predictions react.

    Attributes:
        sizes: number of different image sizes (height, width) among the samples.
        placed: whether samples say of which larger image they are a crop, by ``origin`` and ``size``.
        random: whether a training sample differs from one reading to the next, as random crops and flips make it.
        crop: relative change of the prediction when the same content is shown in another crop, shifted by
            ``SHIFT`` pixels; the content that only one crop shows changes it too. ``None`` where it cannot be
            measured: images too small, or a model that takes one size only.
        batch: relative change of the prediction for an image when a larger image joins its batch; ``None`` for models
            that take images of one size.
        resized: relative change of the prediction when the image is enlarged by ``SCALE``; ``None`` where it cannot be
            measured.
    """

    sizes: int
    placed: bool
    random: bool
    crop: float | None
    batch: float | None
    resized: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)


def check_frames(model: nn.Module, dataset: Dataset[Mapping[str, Any]], images: Sequence[Tensor]) -> Frames:
    """Find out how images reach a model, and measure how its predictions react.

    Args:
        model: in evaluation mode.
        dataset: the training split.
        images: (C, H, W) each, of that split; the first ``PROBES`` are shown to the model.
    """
    probes = images[:PROBES]
    return Frames(
        sizes=len({tuple(image.shape[-2:]) for image in images}),
        placed=any(_is_crop(dataset[index]) for index in range(3)),
        random=_is_random(dataset),
        crop=_mean([_crop_change(model, image) for image in probes]),
        batch=_mean([_batch_change(model, image) for image in probes]) if takes_list(model) else None,
        resized=None if takes_list(model) else _mean([_resize_change(model, image) for image in probes]),
    )


def frame_of(sample: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return ``origin`` and ``size`` of a sample, rows first, in pixels; those of its image if it does not say both."""
    if "origin" in sample and "size" in sample:
        return sample["origin"], sample["size"]
    return (0, 0), sample["image"].shape[-2:]


def _is_crop(sample: Mapping[str, Any]) -> bool:
    return [int(length) for length in frame_of(sample)[1]] != [*sample["image"].shape[-2:]]


def _is_random(dataset: Dataset[Mapping[str, Any]]) -> bool:
    for index in spread(len(dataset), READINGS):  # type: ignore[arg-type]  # torch's type has no length
        first, second = dataset[index]["image"], dataset[index]["image"]
        if first.shape != second.shape or not torch.equal(first, second):
            return True
    return False


def _crop_change(model: nn.Module, image: Tensor) -> float | None:
    height, width = image.shape[-2:]
    if min(height, width) < 2 * SHIFT:
        return None
    crops = [image[:, :-SHIFT, :-SHIFT], image[:, SHIFT:, SHIFT:]]
    return _change(model, *([crop] for crop in crops))


def _batch_change(model: nn.Module, image: Tensor) -> float | None:
    height, width = image.shape[-2:]
    mate = F.interpolate(image[None], (height * 3 // 2, width * 2), mode="bilinear")[0]
    return _change(model, [image], [image, mate])


def _resize_change(model: nn.Module, image: Tensor) -> float | None:
    return _change(model, [image], [F.interpolate(image[None], scale_factor=SCALE, mode="bilinear")[0]])


def _change(model: nn.Module, before: Sequence[Tensor], after: Sequence[Tensor]) -> float | None:
    """Return the relative change of the prediction for the first image; ``None`` where the model refuses a size."""
    try:
        a, b = (_flat(run(model, images)) for images in (before, after))
    except ValueError:
        return None
    length = min(len(a), len(b))
    if length == 0:
        return 0.0 if len(a) == len(b) else 1.0
    return float((a[:length] - b[:length]).norm() / a[:length].norm().clamp(min=1e-12))


def _flat(output: Any) -> Tensor:
    """Return the prediction for the first image as a vector; of a map, its mean and maximum over all cells."""
    if isinstance(output, Mapping):
        output = output.get("out", next(iter(output.values())))
    if isinstance(output, list | tuple):
        output = output[0]
    if isinstance(output, Mapping):
        output = output.get("scores", next(iter(output.values())))
        return output.flatten().float()
    first = output[0].float()
    return torch.cat([first.flatten(1).mean(1), first.flatten(1).amax(1)]) if first.dim() == 3 else first.flatten()


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
