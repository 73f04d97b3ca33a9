"""Function that tries a user's transforms on blank images before training, and names images that lose all boxes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from pytorch_lightning.utilities.seed import isolate_rng
from torchvision import tv_tensors

from lightning_coordconv.core.survey import NAMED, spread
from lightning_coordconv.detection.transforms import ImageAndBoxes

TRIED = 64
"""Number of images, evenly spread, whose boxes are transformed before training."""


def try_transforms(
    transform: ImageAndBoxes,
    images: Sequence[Mapping[str, Any]],
    annotated: Callable[[Mapping[str, Any]], dict[str, Any]],
) -> list[str]:
    """Transform the boxes of some images, which are blank, and count the images whose boxes the transforms all drop.

    Random numbers of the run are kept.

    Args:
        transform: of the data set.
        images: with ``id``, ``file_name``, ``width`` and ``height``.
        annotated: returns ``boxes`` of an image, and an entry of each key for each box.

    Returns:
        A line that names such images, if there are any.

    Raises:
        ValueError: if no image keeps a box.
    """
    tried, emptied = 0, []
    with isolate_rng():
        for number in spread(len(images), TRIED) if transform.changes else []:
            image = images[number]
            objects = annotated(image)
            if len(objects["boxes"]):
                tried += 1
                blank = tv_tensors.Image(torch.zeros((3, image["height"], image["width"]), dtype=torch.uint8))
                if not len(transform(objects | {"image": blank})["boxes"]):
                    emptied.append(image["file_name"])
    if not emptied:
        return []
    more = f" and {len(emptied) - NAMED} more" if len(emptied) > NAMED else ""
    named = ", ".join(emptied[:NAMED]) + more
    line = f"the transforms leave no box in {len(emptied)} of {tried} images tried: {named}"
    if len(emptied) == tried:
        raise ValueError(f"{line}; there would be nothing to train on")
    return [line]
