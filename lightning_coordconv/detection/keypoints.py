"""Class that reads objects' keypoints in COCO's format, and swaps left and right ones where an image is mirrored."""

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors

from lightning_coordconv.detection.coco_format import is_integer, is_number
from lightning_coordconv.detection.skeleton import Skeleton

GRID = torch.cartesian_prod(*2 * [torch.linspace(0.1, 0.9, 5)])
"""Points (25, 2) spread over an image, in shares of its width and height."""


class Keypoints:
    """The keypoints of objects, as a target; see :class:`~lightning_coordconv.detection.targets.Target`.

    A sample has ``keypoints`` (n, K, 3), float32: x and y in pixels, and COCO's visibility, which is 2 for a visible
    keypoint, 1 for a hidden one and 0 for one that is not labelled, whose x and y are 0. While transforms change a
    sample, its ``keypoints`` are ``tv_tensors.KeyPoints`` (n, K, 2), beside ``visibility`` (n, K).

    Transforms that mirror the image, such as a horizontal flip, make a left hand a right one. A grid of points over the
    whole image, ``orientation``, goes through the transforms beside the keypoints: if the linear map that fits best
    mirrors it, left and right keypoints change places. A part of the image does not decide: elastic transforms fold
    some. Keypoints that leave the image are not labelled any more.

    Args:
        skeleton: the keypoints of an object.
    """

    keys: tuple[str, ...] = ("keypoints", "visibility")

    def __init__(self, skeleton: Skeleton) -> None:
        self.skeleton = skeleton

    def read(self, annotation: Mapping[str, Any], width: int, height: int) -> list[list[float]]:
        """Return x, y and visibility of each keypoint of an annotation.

        Raises:
            ValueError: if it has none, or some that are not in COCO's format or outside of the image.
        """
        found, names = annotation.get("keypoints"), self.skeleton.names
        expected = f"a list of {3 * len(names)} numbers: x, y and visibility of each of {len(names)} keypoints"
        if not isinstance(found, list) or not all(map(is_number, found)):
            value = f"the keypoints {reprlib.repr(found)}" if "keypoints" in annotation else "no keypoints"
            raise ValueError(f"has {value}, but they must be {expected}")
        if len(found) != 3 * len(names):
            raise ValueError(f"has keypoints of {len(found)} numbers, but they must be {expected}")
        points = [found[start : start + 3] for start in range(0, len(found), 3)]
        for name, (x, y, visibility) in zip(names, points, strict=True):
            if visibility not in (0, 1, 2):
                raise ValueError(f"has the visibility {visibility} of {name!r} in keypoints, but it must be 0, 1 or 2")
            if visibility and not (0 <= x <= width and 0 <= y <= height):  # also NaN
                raise ValueError(
                    f"has {name!r} in keypoints at {x}, {y}, but a labelled keypoint must be inside its image of "
                    f"{width} x {height}"
                )
        labelled = sum(point[2] > 0 for point in points)
        count = annotation.get("num_keypoints", labelled)
        if not is_integer(count) or count != labelled:
            raise ValueError(
                f"has the num_keypoints {reprlib.repr(count)}, but it must be {labelled}, the number of its keypoints "
                "with a visibility of 1 or 2"
            )
        return [point if point[2] else [0, 0, 0] for point in points]

    def tensors(self, values: Sequence[list[list[float]]], width: int, height: int) -> dict[str, Tensor]:
        """Return the keypoints of an image's objects, for transforms."""
        points = torch.tensor(values, dtype=torch.float32).view(-1, len(self.skeleton.names), 3)
        grid = GRID * torch.tensor([width, height])
        return {
            "keypoints": tv_tensors.KeyPoints(points[..., :2], canvas_size=(height, width)),
            "visibility": points[..., 2],
            "orientation": tv_tensors.KeyPoints(grid, canvas_size=(height, width)),
        }

    def finish(self, sample: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the keypoints of a transformed sample.

        Raises:
            ValueError: if the image was mirrored and it is not known which keypoints are left and right.
        """
        xy, visibility = sample["keypoints"].as_subclass(Tensor), sample["visibility"]
        if self._is_mirrored(sample["orientation"].as_subclass(Tensor)):
            if not self.skeleton.flip_indices:
                raise ValueError(
                    f"the transforms mirror the image, but the names of the keypoints {list(self.skeleton.names)} do "
                    "not pair left and right ones: name them so, set flip_indices, or leave out flips with "
                    "train_transforms: []"
                )
            order = list(self.skeleton.flip_indices)
            xy, visibility = xy[:, order], visibility[:, order]
        size = xy.new_tensor(sample["image"].shape[:-3:-1])  # width, height
        # torchvision mirrors x to W - 1 - x, so that a keypoint at the border can be one pixel outside
        kept = (visibility > 0) & ((xy >= -1) & (xy <= size)).all(-1)
        xy = xy.clamp(min=0).minimum(size)
        return {"keypoints": torch.cat([xy, visibility[..., None]], dim=-1) * kept[..., None]}

    @staticmethod
    def _is_mirrored(grid: Tensor) -> bool:
        if len(grid.unique(dim=0)) < len(GRID):
            raise ValueError(
                "the transforms move different keypoints to one place, as ClampKeyPoints does, and ElasticTransform "
                "after a crop: leave them out, as keypoints outside of the image are left out here"
            )
        (a, b), (c, d) = ((grid - grid.mean(0)).T @ (GRID - GRID.mean(0))).tolist()  # the sign of the fitted map's
        return bool(a * d - b * c < 0)
