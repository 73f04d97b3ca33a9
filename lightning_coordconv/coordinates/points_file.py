"""Class of a picture's point, and function that reads and checks points of a CSV file and logs what is doubtful."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities import rank_zero_info

from lightning_coordconv.core.counts import listed
from lightning_coordconv.core.headers import read_headers
from lightning_coordconv.core.image_search import identity_of
from lightning_coordconv.core.images import read_size
from lightning_coordconv.core.parsing import parse_number
from lightning_coordconv.core.survey import NAMED, Refuse, raise_refused

COLUMNS = ("image", "x", "y")
REFUSED = "lines that cannot be used"


@dataclass(frozen=True)
class Point:
    """A line of a file of points.

    Attributes:
        name: of the image, as the file has it.
        x: of the point in pixels, to the right; 0 is the middle of the first column.
        y: of the point in pixels, downwards; 0 is the middle of the first row.
        size: width and height of the image in pixels, turned as its EXIF orientation says.
    """

    name: str
    x: float
    y: float
    size: tuple[int, int]


def read_points(file: Path, refuse: Refuse = raise_refused) -> list[Point]:
    """Read a CSV file with the columns ``image``, ``x`` and ``y``; further columns are ignored.

    Points are on images turned as their EXIF orientation says; such images are logged, and points that are probably not
    in pixels.

    Args:
        file: in UTF-8, with a line of names first. Images are paths relative to its folder, each on one line.
        refuse: receives each line that cannot be used, which is left out if it returns.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no CSV file with these columns, or has no line that can be used. For the first line that
            cannot be used, naming file, line and value: a field is missing or has a line break, there are more fields
            than columns, a number is none or not finite, a point lies outside of its image, or an image is named twice.
        OSError: for the first image that is missing or cannot be read.
    """
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}: expected a CSV file with the columns {', '.join(COLUMNS)}")
    points: dict[object, Point] = {}
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, skipinitialspace=True, strict=True)
            names = [name.strip() for name in reader.fieldnames or ()]
            missing = [name for name in COLUMNS if name not in names]
            if missing:
                raise ValueError(f"{file} line 1 has no {', '.join(missing)}: it names the columns {', '.join(names)}")
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{file} line 1 names the columns {', '.join(twice)} more than once")
            reader.fieldnames = names
            for row in reader:
                place = f"{file} line {reader.line_num}"
                try:
                    point = _read(row, file.parent, place)
                    image = identity_of(file.parent / point.name)
                    if image in points:
                        first = "" if points[image].name == point.name else f", which is also {points[image].name}"
                        raise ValueError(f"{place} names the image {point.name} once more{first}")
                    points[image] = point
                except (ValueError, OSError) as error:
                    refuse(REFUSED, error)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file} is no CSV file in UTF-8: {error}") from error
    if not points:
        raise ValueError(f"{file} has no line with a point")
    found = list(points.values())
    _report_doubtful(file, found)
    return found


def _report_doubtful(file: Path, points: Sequence[Point]) -> None:
    if all(0 <= min(point.x, point.y) <= max(point.x, point.y) <= 1 < min(point.size) for point in points):
        shares = "all points are in the first pixels of their image: are they shares of its width and height?"
        rank_zero_info(f"{file}: {shares}")
    headers = read_headers(file.parent / point.name for point in points)
    for line in headers.remarks:
        rank_zero_info(f"{file}: {line}")
    if headers.turned:
        kind = "images turned by their EXIF orientation"
        rank_zero_info(f"{file}: {listed(kind, headers.turned, NAMED)}; points are taken to be on the turned images")


def _read(row: dict[str, Any], folder: Path, place: str) -> Point:
    further = row.get(None)  # type: ignore[call-overload]  # where csv puts the fields that have no column
    if further:
        raise ValueError(f"{place} has fields without a column: {', '.join(further)}; numbers have a decimal point")
    broken = [name for name, value in row.items() if len(str(value).splitlines()) > 1]
    if broken:
        raise ValueError(
            f"{place} has a line break in {', '.join(broken)}: is there a quotation mark too many or too few?"
        )
    values = {name: (row[name] or "").strip() for name in COLUMNS}
    empty = [name for name, value in values.items() if not value]
    if empty:
        raise ValueError(f"{place} has no {', '.join(empty)}")
    try:
        size = read_size(folder / values["image"])
    except OSError as error:
        raise OSError(f"{place}: {error}") from error
    x, y = (_number(values[name], name, length, place) for name, length in zip(COLUMNS[1:], size, strict=True))
    return Point(values["image"], x, y, size)


def _number(text: str, name: str, length: int, place: str) -> float:
    """Return a position within an image of some length in pixels."""
    try:
        number = parse_number(text)
    except ValueError:
        number = math.nan
    if not -0.5 <= number <= length - 0.5:  # also if NaN
        raise ValueError(f"{place} has {name} = {text!r}, but it must be a number in [0, {length - 1}]")
    return number
