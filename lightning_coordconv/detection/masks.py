"""Class that reads objects' masks in COCO's format (polygons, run lengths), and functions to check and encode these."""

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors

from lightning_coordconv.core.extras import extra
from lightning_coordconv.detection.coco_format import is_integer, is_number

LEAST = 6
"""Smallest length of a polygon: three points."""


class InstanceMasks:
    """The masks of objects, as a target; see :class:`~lightning_coordconv.detection.targets.Target`.

    A sample has ``masks`` (n, H, W), uint8: 1 in the pixels of an object. Run lengths are checked before pycocotools,
    which would write beyond its memory, receives them. Polygons are filled by pycocotools, so that masks are COCO's.

    Raises:
        ModuleNotFoundError: if pycocotools is not installed.
    """

    keys: tuple[str, ...] = ("masks",)

    def __init__(self) -> None:
        _mask_functions()

    def read(self, annotation: Mapping[str, Any], width: int, height: int) -> dict[str, Any] | None:
        """Return the compressed run lengths of an annotation's mask; ``None`` if it has no pixel in the image.

        Raises:
            ValueError: if it has no segmentation, or one that is not in COCO's format, contradicts the image size or
                lies outside of the annotation's box.
        """
        found = annotation.get("segmentation")
        if not found or not isinstance(found, list | dict):
            value = f"the segmentation {reprlib.repr(found)}" if "segmentation" in annotation else "no segmentation"
            raise ValueError(f"has {value}, but it must be a list of polygons or an object with size and counts")
        if isinstance(found, dict):
            encoded = _checked_run_lengths(found, width, height)
        else:
            for number, polygon in enumerate(found):
                _check_polygon(f"segmentation[{number}]", polygon, width, height)
            functions = _mask_functions()
            encoded = functions.merge(functions.frPyObjects(found, height, width))
        if not _mask_functions().area(encoded):
            return None
        _check_place(_mask_functions().toBbox(encoded).tolist(), annotation["bbox"])
        return encoded

    def tensors(self, values: Sequence[dict[str, Any]], width: int, height: int) -> dict[str, Tensor]:
        """Return the masks of an image's objects, for transforms."""
        masks = np.zeros((len(values), height, width), np.uint8)
        for mask, value in zip(masks, values, strict=True):
            runs = _decompress(value["counts"].decode())
            mask.T[:] = np.repeat(np.arange(len(runs)) % 2, runs).reshape(width, height)
        return {"masks": tv_tensors.Mask(torch.from_numpy(masks))}

    def finish(self, sample: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the masks of a transformed sample."""
        return {"masks": sample["masks"].as_subclass(Tensor)}


def run_lengths(mask: Tensor) -> dict[str, Any]:
    """Return the run lengths of a mask (H, W), bool or 0 and 1, compressed and in the form that JSON holds."""
    encoded = _mask_functions().encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}


def _mask_functions() -> Any:
    with extra("detection", "masks in COCO's format"):
        from pycocotools import mask
    return mask


def _check_polygon(key: str, polygon: Any, width: int, height: int) -> None:
    if not isinstance(polygon, list) or not all(map(is_number, polygon)):
        raise ValueError(f"has the {key} {reprlib.repr(polygon)}, but it must be a list of numbers x1, y1, x2, y2, ...")
    if len(polygon) < LEAST or len(polygon) % 2:
        raise ValueError(
            f"has the {key} of {len(polygon)} numbers, but a polygon must have an even number of them, at least {LEAST}"
        )
    for axis, values, side in (("x", polygon[::2], width), ("y", polygon[1::2], height)):
        outside = [value for value in values if not -side <= value <= 2 * side]  # also NaN
        if outside:
            raise ValueError(
                f"has the {key} with {axis} = {outside[0]}, but it must be from {-side} to {2 * side}: at most one "
                f"side of the image of {width} x {height} away from it"
            )


def _check_place(mask: list[float], box: Sequence[float]) -> None:
    """Refuse the mask of another object, by the box (x, y, width, height) around it: a pixel apart is rounding."""
    for axis, k in (("x", 0), ("y", 1)):
        if mask[k] > box[k] + box[k + 2] + 1 or box[k] > mask[k] + mask[k + 2] + 1:
            raise ValueError(
                f"has a segmentation from {axis} = {mask[k]:g} to {mask[k] + mask[k + 2]:g}, outside of its bbox from "
                f"{axis} = {box[k]:g} to {box[k] + box[k + 2]:g}"
            )


def _checked_run_lengths(found: Mapping[str, Any], width: int, height: int) -> dict[str, Any]:
    """Return the run lengths of a file in the compressed form, if they are those of an image of that size."""
    size, counts = found.get("size"), found.get("counts")
    if size != [height, width]:
        raise ValueError(
            f"has the segmentation size {reprlib.repr(size)}, but it must be [{height}, {width}], the height and width "
            "of its image"
        )
    runs = _decompress(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not runs or not all(is_integer(run) and run >= 0 for run in runs):
        raise ValueError(
            f"has the segmentation counts {reprlib.repr(counts)}, but they must be a list of whole numbers from 0, or "
            "such a list as COCO compresses it"
        )
    if sum(runs) != width * height:
        raise ValueError(
            f"has segmentation counts with the sum {sum(runs)}, but it must be {width * height}, the pixels of its "
            f"image of {width} x {height}"
        )
    if isinstance(counts, str):
        return {"size": size, "counts": counts.encode()}
    encoded: dict[str, Any] = _mask_functions().frPyObjects({"size": [height, width], "counts": runs}, height, width)
    return encoded


def _decompress(text: str) -> list[int]:
    """Return the run lengths that a string holds; none if it is no such string.

    A number is written from its lowest five bits on, in characters from code 48, whose sixth bit says that more follow.
    From the fourth number on it is the difference from the number two places before. Source: pycocotools, maskApi.c.
    """
    runs: list[int] = []
    value = bits = 0
    for letter in text:
        code = ord(letter) - 48
        if not 0 <= code < 64 or bits > 60:
            return []
        value |= (code & 31) << bits
        bits += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << bits
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = bits = 0
    return [] if bits else runs
