"""Protocol of a data set's optional targets (masks, keypoints), and the function that makes them by name."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, get_args

from torch import Tensor

from lightning_coordconv.detection.annotations import Annotations
from lightning_coordconv.detection.keypoints import Keypoints
from lightning_coordconv.detection.masks import InstanceMasks
from lightning_coordconv.detection.skeleton import read_skeleton

TargetName = Literal["masks", "keypoints"]


class Target(Protocol):
    """One kind of target, which reads it from annotations and makes tensors of it."""

    keys: tuple[str, ...]
    """Names of the tensors with an entry for each object that a sample has while transforms change it."""

    def read(self, annotation: Mapping[str, Any], width: int, height: int) -> Any:
        """Return what is kept of an annotation; ``None`` if the object has no pixel in the image of that size.

        Raises:
            ValueError: if the annotation does not have what is needed. The message goes on after the annotation's name.
        """
        ...

    def tensors(self, values: Sequence[Any], width: int, height: int) -> dict[str, Tensor]:
        """Return the tensors, of what was kept of an image's objects, that transforms receive."""
        ...

    def finish(self, sample: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the tensors of a sample, after transforms."""
        ...


def make_targets(
    names: Iterable[TargetName], annotations: Annotations, flip_indices: Sequence[int] | None
) -> dict[TargetName, Target]:
    """Return targets by their names.

    Args:
        names: ``"masks"`` or ``"keypoints"``, or both.
        annotations: have the categories, whose keypoints have names.
        flip_indices: see :class:`~lightning_coordconv.detection.skeleton.Skeleton`.

    Raises:
        ValueError: for another name, for ``flip_indices`` without keypoints among the targets, and for categories
            without keypoints; see :func:`~lightning_coordconv.detection.skeleton.read_skeleton`.
    """
    made: dict[TargetName, Target] = {}
    chosen = list(names)
    if flip_indices is not None and "keypoints" not in chosen:
        raise ValueError(
            f"flip_indices={list(flip_indices)} needs 'keypoints' among the targets, got {chosen}: add them, or leave "
            "out flip_indices"
        )
    for name in chosen:
        if name == "masks":
            made[name] = InstanceMasks()
        elif name == "keypoints":
            skeleton = read_skeleton(annotations.source, annotations.content["categories"], flip_indices)
            made[name] = Keypoints(skeleton)
        else:
            raise ValueError(f"targets must be of {', '.join(get_args(TargetName))}, got {name!r}")
    return made
