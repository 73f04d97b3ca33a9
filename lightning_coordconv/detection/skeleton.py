"""Class of keypoint names, bones and left-right pairs, and functions that read it from annotations or checkpoints."""

import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning_coordconv.core.checkpoints import CheckpointError
from lightning_coordconv.detection.coco_format import is_integer, is_name


class Skeleton(NamedTuple):
    """The keypoints of an object.

    Attributes:
        names: of the K keypoints.
        bones: pairs of keypoints, numbered from 0, that a line connects in pictures.
        flip_indices: for each keypoint the one whose place it takes in a mirror; empty if that is not known.
    """

    names: tuple[str, ...] = ()
    bones: tuple[tuple[int, int], ...] = ()
    flip_indices: tuple[int, ...] = ()

    def describe(self) -> dict[str, list[Any]]:
        """Return names and bones as plain data."""
        return {"names": list(self.names), "bones": [list(bone) for bone in self.bones]}


def read_skeleton(
    source: Path, categories: Sequence[Mapping[str, Any]], flip_indices: Sequence[int] | None = None
) -> Skeleton:
    """Return the keypoints that all categories of an annotation file have.

    Args:
        source: the file.
        categories: with ``keypoints``, a list of names, and perhaps ``skeleton``, pairs of keypoints numbered from 1.
        flip_indices: see :class:`Skeleton`; by default ``left`` and ``right`` in the names say it.

    Raises:
        ValueError: naming the file and the category, if one has no keypoints, others than the first one has, or a wrong
            skeleton; and if ``flip_indices`` do not pair the keypoints.
    """
    if not categories:
        raise ValueError(f"{source} has no categories, but at least one must name its keypoints")
    found: list[tuple[Any, Any]] = []
    for category in categories:
        place = f"{source}: category {category['id']} ({reprlib.repr(category['name'])})"
        names, skeleton = category.get("keypoints"), category.get("skeleton", [])
        if not isinstance(names, list) or not names or not all(map(is_name, names)) or len(set(names)) < len(names):
            value = f"the keypoints {reprlib.repr(names)}" if "keypoints" in category else "no keypoints"
            raise ValueError(
                f"{place} has {value}, but they must be a list of different names without control characters"
            )
        numbers = range(1, len(names) + 1)
        if not isinstance(skeleton, list) or not all(_is_bone(bone, numbers) for bone in skeleton):
            raise ValueError(
                f"{place} has the skeleton {reprlib.repr(skeleton)}, but it must be a list of pairs of numbers from 1 "
                f"to {len(names)}"
            )
        found.append((names, skeleton))
        if names != found[0][0]:
            raise ValueError(
                f"{place} has the keypoints {reprlib.repr(names)}, but they must be those of the first category, "
                f"{reprlib.repr(found[0][0])}: a network has one set of keypoints"
            )
    names, skeleton = found[0]
    mirror = _mirror(names) if flip_indices is None else tuple(flip_indices)
    paired = sorted(mirror) == list(range(len(names))) and all(mirror[other] == own for own, other in enumerate(mirror))
    if flip_indices is not None and not paired:
        raise ValueError(
            f"flip_indices must pair the {len(names)} keypoints of {source}, each number from 0 to {len(names) - 1} "
            f"once, got {list(flip_indices)}"
        )
    return Skeleton(tuple(names), tuple((a - 1, b - 1) for a, b in skeleton), mirror)


def described_skeleton(described: Any) -> Skeleton:
    """Return the skeleton that a checkpoint describes; without names if it describes none.

    Raises:
        CheckpointError: if it is not as :meth:`Skeleton.describe` writes it.
    """
    if described is None:
        return Skeleton()
    plain: Mapping[str, Any] = described if isinstance(described, Mapping) else {}
    names: Any = plain.get("names")
    bones: Any = plain.get("bones")
    lists = isinstance(names, list) and isinstance(bones, list)
    if not lists or not all(map(is_name, names)) or len(set(names)) < len(names):
        raise CheckpointError(
            f"the skeleton of the checkpoint must have different names and bones, got {described!r:.100}"
        )
    if not all(_is_bone(bone, range(len(names))) for bone in bones):
        raise CheckpointError(f"the bones of the checkpoint must be pairs of keypoints, got {bones!r:.100}")
    return Skeleton(tuple(names), tuple((a, b) for a, b in bones))


def _is_bone(bone: Any, numbers: range) -> bool:
    return isinstance(bone, list) and len(bone) == 2 and all(is_integer(end) and end in numbers for end in bone)


def _mirror(names: Sequence[str]) -> tuple[int, ...]:
    """Return where keypoints go in a mirror by their names; empty if the names, or the name of one side, do not say it.

    Names that say it in another way too, such as ``L_ear`` beside ``left_eye``, do not say it.
    """
    partners = [_other_side(name) for name in names]
    kept = {name.lower() for name, partner in zip(names, partners, strict=True) if name == partner}
    if partners == list(names) or not set(partners) <= set(names) or any(kept & _other_letters(name) for name in kept):
        return ()
    return tuple(names.index(partner) for partner in partners)


def _other_side(name: str) -> str:
    return name.replace("left", "\0").replace("right", "left").replace("\0", "right")


def _other_letters(name: str) -> set[str]:
    """Return what a name in small letters becomes where ``left``, or one of its letters l, becomes the right side."""
    letters = {f"{name[:place]}r{name[place + 1 :]}" for place, letter in enumerate(name) if letter == "l"}
    return letters | ({name.replace("left", "right")} - {name})
