"""Function that tells lines of a box and key points from polygons, among lines of labels in YOLO's format."""

from collections import Counter
from collections.abc import Sequence

ROUNDING = 1e-5
"""By how much a value may be off: programs write six digits."""
MOST = 0.9
"""Share of the lines of a data set that decide for all: a few lines may be wrong."""
COMPACT = 0.25
"""A polygon whose width and height are less than this share of the supposed box is no box with key points."""


def key_point_line(lines: Sequence[Sequence[float]]) -> int | None:
    """Return the number of the first line that can be a box and key points, if most lines can; otherwise ``None``.

    The lines with the most frequent length decide, if they are nine in ten: an object of such data has a fixed number
    of key points, while polygons have different numbers of corners. Nine in ten of them must then be a box inside
    the image, with half of all points inside their boxes; so some points or boxes may stick out.

    A small polygon is no box and key points: its second corner, supposed to be the size of a box, is near all others.

    Args:
        lines: of box and (x, y) or (x, y, visibility) of each key point, or of a polygon; in shares of the image.
    """
    if not lines:
        return None
    length, count = Counter(map(len, lines)).most_common(1)[0]
    chosen = [number for number, values in enumerate(lines) if len(values) == length]
    if count < MOST * len(lines):
        return None
    for step in (2, 3):
        boxes = [number for number in chosen if _has_box(lines[number], step)]
        inside = [_in_box(lines[number], point) for number in boxes for point in _points(lines[number], step)]
        if len(boxes) >= MOST * count and 2 * sum(inside) >= len(inside):
            return boxes[0]
    return None


def _has_box(values: Sequence[float], step: int) -> bool:
    """Tell whether values can be a box inside the image, which is not far larger than all points, and key points."""
    cx, cy, w, h = values[:4]
    rest = values[4:]
    flags = rest[2::3] if step == 3 else ()
    if len(rest) % step or not set(flags) <= {0, 1, 2} or min(w, h) <= 0:
        return False
    inside = all(size / 2 - ROUNDING <= at <= 1 - size / 2 + ROUNDING for at, size in ((cx, w), (cy, h)))
    corners = ((values[::2], w), (values[1::2], h))  # of the polygon that the line can be instead
    return inside and not all(max(at) - min(at) < COMPACT * size for at, size in corners)


def _points(values: Sequence[float], step: int) -> list[tuple[float, float]]:
    """Return the key points; those that are not visible are at (0, 0), and left out."""
    rest = values[4:]
    return [(x, y) for x, y in zip(rest[::step], rest[1::step], strict=True) if (x, y) != (0, 0)]


def _in_box(values: Sequence[float], point: tuple[float, float]) -> bool:
    return all(abs(point[axis] - values[axis]) <= values[2 + axis] / 2 + ROUNDING for axis in (0, 1))
