"""Functions that collect contents and faults of a CSV file of points, for the command ``data check``."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from lightning_coordconv.coordinates.points import PointImages, draw_point
from lightning_coordconv.coordinates.points_file import read_points
from lightning_coordconv.core.splits import PARTS, RandomSplit
from lightning_coordconv.core.survey import Part, Survey, data_options

SHOWN_SIZE = 256
"""Height and width in pixels of the squares that are drawn."""


def surveys(path: Path) -> dict[str, Callable[[int], Survey]]:
    """Return the function that surveys a CSV file of points, by the name of the format; none for others."""
    return {"points": partial(_survey, path)} if path.is_file() and path.suffix.lower() == ".csv" else {}


def _survey(path: Path, limit: int) -> Survey:
    survey = Survey(f"points: {path}", "images", limit)
    points = {point.name: point for point in read_points(path, survey.refuse)}
    with survey.collecting("splits that cannot be used"):
        names = RandomSplit().divide(sorted(points), path, "images")
        for split in PARTS:
            _add(survey, split, PointImages(path.parent, [points[name] for name in names[split]], SHOWN_SIZE))
    survey.options = f"-c coordinates/points_coordconv {data_options(file=path)}"
    return survey


def _add(survey: Survey, split: str, data: PointImages) -> None:
    part = Part(split, draw=lambda index: draw_point(data[index]))
    part.sizes.update(point.size for point in data.points)
    part.classes["point"] = len(data)
    survey.images[split] = [data.folder / point.name for point in data.points]
    survey.read(part, data)
    survey.parts.append(part)
