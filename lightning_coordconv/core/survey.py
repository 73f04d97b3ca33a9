"""Classes and functions that collect and report sizes, classes and faults of a data folder, for ``data check``.

A reader passes each entry that it cannot use to a function, a ``Refuse``. A run raises the first one; a survey collects
them all.
"""

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from matplotlib.figure import Figure

Refuse: TypeAlias = Callable[[str, Exception], None]
"""Receives what is wrong with entries of this kind, in the plural, and the error that names this one.

If it returns, the entry is left out.
"""
Size: TypeAlias = tuple[int, int]
NAMED = 5
"""Number of entries of a kind that a report names; the others are counted."""


def raise_refused(kind: str, error: Exception) -> None:
    """Raise the error, so that the first entry that cannot be used ends the run."""
    raise error


@dataclass
class Part:
    """What one split has.

    Attributes:
        name: of the split.
        sizes: how many images have a width and height, in pixels.
        classes: how many there are of each class, if there are classes; see ``counted`` of the survey.
        per_image: number of objects of each image; empty if images have none.
        samples: how many there are to read.
        readable: numbers of the samples that were read.
        draw: draws the sample of a number.
    """

    name: str
    sizes: Counter[Size] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)
    per_image: list[int] = field(default_factory=list)
    samples: int = 0
    readable: list[int] = field(default_factory=list)
    draw: Callable[[int], Figure] | None = None


class Survey:
    """What there is in a folder of data, and what is wrong with it.

    Args:
        kind: of the data, e.g. ``"Pascal VOC"``.
        counted: what the classes are counted in, in the plural, e.g. ``"boxes"``.
        limit: largest number of samples of a split that are read whole, evenly spread.

    Attributes:
        options: the options of ``lightning-coordconv fit`` that train on these data.
        parts: the splits.
        refused: the errors of entries that would end a run, by kind.
        remarks: lines on what a run leaves out or changes.
        images: the image files of each split.
        others: files of the data that are no samples, such as masks.
    """

    def __init__(self, kind: str, counted: str, limit: int) -> None:
        self.kind = kind
        self.counted = counted
        self.limit = limit
        self.options = ""
        self.parts: list[Part] = []
        self.refused: dict[str, dict[str, None]] = {}  # of errors in their order, each once
        self.remarks: list[str] = []
        self.images: dict[str, list[Path]] = {}
        self.others: list[Path] = []

    def refuse(self, kind: str, error: Exception) -> None:
        """Collect an entry that cannot be used; the same error counts once."""
        self.refused.setdefault(kind, {})[" ".join(str(error).split())] = None

    @contextmanager
    def collecting(self, kind: str) -> Iterator[None]:
        """Return a context whose ``ValueError`` or ``OSError`` is collected."""
        try:
            yield
        except (ValueError, OSError) as error:
            self.refuse(kind, error)

    def read(self, part: Part, dataset: Any, note: Callable[[Any], None] = lambda sample: None) -> None:
        """Read samples of a data set, at most ``limit`` and evenly spread, and collect those that cannot be read.

        Args:
            part: receives how many there are, and the numbers of those that can be read.
            dataset: has a length and an item for each number.
            note: receives each sample.
        """
        part.samples = len(dataset)
        for index in spread(part.samples, self.limit):
            try:
                note(dataset[index])
                part.readable.append(index)
            except OSError as error:
                self.refuse("files that cannot be read", error)
            except ValueError as error:
                self.refuse("samples that contradict themselves", error)

    def figures(self, count: int) -> list[Figure]:
        """Draw samples of all splits, evenly spread."""
        drawn = [(part.draw, index) for part in self.parts for index in part.readable if part.draw is not None]
        return [drawn[number][0](drawn[number][1]) for number in spread(len(drawn), count)]

    def report(self) -> str:
        """Return the survey as text: what there is, what would end a run, and what a run leaves out or changes."""
        lines = [self.kind, *_splits(self.parts, self.counted)]
        if any(part.classes for part in self.parts):
            lines += ["", *_classes(self.parts, self.counted)]
        for kind, errors in self.refused.items():
            lines += ["", f"refused: {kind} ({len(errors)})", *(f"  {error}" for error in list(errors)[:NAMED])]
            lines += [f"  and {len(errors) - NAMED} more"] if len(errors) > NAMED else []
        remarks = [*_not_decoded(self.parts, self.limit), *_absent(self.parts), *self.remarks]
        lines += ["", *(f"note: {remark}" for remark in remarks)] if remarks else []
        if self.options:
            lines += ["", f"train with: lightning-coordconv fit {self.options}"]
        return "\n".join(lines)


def data_options(**values: object) -> str:
    """Return options of the data as they are typed in a shell.

    >>> data_options(root="my data", num_classes=3)
    "--data.root 'my data' --data.num_classes 3"
    """
    return " ".join(f"--data.{name} {shlex.quote(str(value))}" for name, value in values.items())


def spread(count: int, limit: int) -> list[int]:
    """Return the numbers below ``count``, or as many as ``limit`` of them, evenly spread from the first to the last.

    >>> spread(3, 5), spread(9, 3)
    ([0, 1, 2], [0, 4, 8])
    """
    if count <= limit:
        return list(range(count))
    return [number * (count - 1) // max(1, limit - 1) for number in range(limit)]


def _splits(parts: Sequence[Part], counted: str) -> list[str]:
    objects = [counted, f"{counted} an image"] if _has_objects(parts) else []
    rows = [["split", "images", "of these decoded", *objects, "width x height"]]
    for part in parts:
        row = [part.name, str(part.sizes.total()), str(len(part.readable))]
        if _has_objects(parts):
            least, most = min(part.per_image, default=0), max(part.per_image, default=0)
            row += [str(sum(part.per_image)), f"{least} to {most}"]
        rows.append([*row, _range(part.sizes)])
    return _table(rows)


def _not_decoded(parts: Sequence[Part], limit: int) -> Iterator[str]:
    """Yield a line on each split that has more samples than were to be read."""
    most = max((part.samples for part in parts), default=0)
    for part in parts:
        if part.samples > limit:
            rest = f"{part.samples - limit} of {part.samples} images were not decoded"
            yield f"{part.name}: {rest}; --images {most} decodes all"


def _absent(parts: Sequence[Part]) -> Iterator[str]:
    """Yield a line on each split that lacks a class which another one has."""
    for part in parts:
        names = dict.fromkeys(name for other in parts for name, count in other.classes.items() if count)
        absent = [name for name in names if not part.classes[name]]
        if absent:
            more = f" and {len(absent) - NAMED} more" if len(absent) > NAMED else ""
            yield f"{part.name} has no example of the class {', '.join(absent[:NAMED])}{more}, which other splits have"


def _classes(parts: Sequence[Part], counted: str) -> list[str]:
    names = dict.fromkeys(name for part in parts for name in part.classes)
    rows = [[f"class ({counted})", *(part.name for part in parts)]]
    return _table(rows + [[name, *(str(part.classes[name]) for part in parts)] for name in names])


def _has_objects(parts: Sequence[Part]) -> bool:
    return any(part.per_image for part in parts)


def _range(sizes: Counter[Size]) -> str:
    if not sizes:
        return ""
    (width, height), (most_wide, most_high) = min(sizes, key=_area), max(sizes, key=_area)
    one = f"{width} x {height}"
    return one if len(sizes) == 1 else f"{one} to {most_wide} x {most_high}, {len(sizes)} sizes"


def _area(size: Size) -> tuple[int, int]:
    return size[0] * size[1], size[0]


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
