"""Class of a split's annotations as COCO's lists, and functions that read a text file and list entries in a remark."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lightning_coordconv.core.counts import listed

NAMED = 5
"""Number of annotations that a remark names; the others are counted."""


@dataclass(frozen=True)
class Annotations:
    """The annotations of a split.

    Attributes:
        source: the file or folder that they were read from.
        content: lists of ``images``, ``annotations`` and ``categories`` with the keys of COCO's format, as in
            :data:`~lightning_coordconv.detection.coco_format.SCHEMA`. Categories and sizes may still contradict the
            annotations.
        places: where each annotation is, by its id, such as ``"labels/a.txt line 3"``. Without a place an annotation
            is named by its id, as in COCO's format.
        upright: whether boxes are drawn on images that are turned as their EXIF orientation says; ``None`` if the sizes
            of the images are to tell, see :mod:`~lightning_coordconv.detection.orientation`.
        remarks: a line on each kind of thing that is not used as one might expect.
    """

    source: Path
    content: Mapping[str, list[dict[str, Any]]]
    places: Mapping[int, str] = field(default_factory=dict)
    upright: bool | None = None
    remarks: Sequence[str] = ()

    def part(self, names: Collection[str]) -> "Annotations":
        """Return the annotations without the images of other file names, and without what is on those images."""
        others = {image["id"] for image in self.content["images"] if image["file_name"] not in names}
        images = [image for image in self.content["images"] if image["id"] not in others]
        annotations = [entry for entry in self.content["annotations"] if entry["image_id"] not in others]
        return replace(self, content={**self.content, "images": images, "annotations": annotations})

    def place(self, identity: int) -> str:
        """Return where an annotation is."""
        return self.places.get(identity, f"{self.source}: annotation {identity}")

    def some(self, identities: Sequence[int]) -> str:
        """Return where the first five of some annotations are, and how many others there are."""
        more = f" and {len(identities) - NAMED} more" if len(identities) > NAMED else ""
        first = identities[:NAMED]
        if self.places:
            return f": {', '.join(self.place(identity) for identity in first)}{more}"
        return f", by id {', '.join(map(str, first))}{more}"


def remark(line: str, names: Sequence[str]) -> str:
    """Return a line with the number of some entries and the names of the first five; "" of none."""
    return listed(line, names, NAMED) if names else ""


def read_lines(file: Path) -> list[str]:
    """Return the lines of a text file in UTF-8.

    Raises:
        ValueError: if it is none.
    """
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except ValueError as error:
        raise ValueError(f"{file} is no text in UTF-8: {error}") from error
