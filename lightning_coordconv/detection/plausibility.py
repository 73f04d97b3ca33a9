"""Function that reports implausible annotations: boxes in fractions or twice, impossible areas, similar class names."""

import math
from typing import Any

from lightning_coordconv.core.arguments import similar_names
from lightning_coordconv.detection.annotations import Annotations
from lightning_coordconv.detection.transforms import THINNEST


def implausible(read: Annotations) -> list[str]:
    """Return a line on boxes in shares of the image, on boxes given twice, on impossible areas, and on similar classes.

    A box that is given twice counts as missed once in every test. The area decides whether COCO's table counts an
    object as small or large, and how close a keypoint must be.
    """
    annotations = [row for row in read.content["annotations"] if all(map(math.isfinite, row["bbox"]))]
    lines = []
    if annotations and all(max(x + w, y + h) <= 1 for x, y, w, h in (row["bbox"] for row in annotations)):
        lines.append("all boxes are in the first pixel of their image: are they shares of its width and height?")
    seen: dict[tuple[Any, ...], dict[str, Any]] = {}
    repeated, impossible = [], []
    for row in annotations:
        what = (row["image_id"], row["category_id"], row.get("iscrowd", 0), *row["bbox"])
        earlier = seen.setdefault(what, row)
        if earlier is not row and all(earlier.get(key) == row.get(key) for key in ("segmentation", "keypoints")):
            repeated.append(row["id"])
        _, _, width, height = row["bbox"]
        largest = (math.ceil(width) + 1) * (math.ceil(height) + 1)  # boxes may be rounded, and leave out the last pixel
        if "area" in row and min(width, height) > THINNEST and not 0 < row["area"] <= largest:
            impossible.append(row["id"])
    kinds = {
        "boxes that are the same as another of their class in their image": repeated,
        "objects with an area of 0, or a larger one than their box": impossible,
    }
    lines += similar_names(category["name"] for category in read.content["categories"])
    return lines + [f"{line} ({len(found)}){read.some(found)}" for line, found in kinds.items() if found]
