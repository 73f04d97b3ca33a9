"""Tests of what tells lines of a box and key points from polygons: drawn shapes, sets of lines, and wrong lines."""

import math

import numpy as np
import pytest

from lightning_coordconv.detection.yolo_keypoints import key_point_line

PENTAGON = [0.5, 0.2, 0.8, 0.45, 0.7, 0.8, 0.3, 0.8, 0.2, 0.45]
ARROW = [0.2, 0.4, 0.6, 0.4, 0.6, 0.2, 0.9, 0.5, 0.6, 0.8, 0.6, 0.6, 0.2, 0.6]  # concave
SQUARE = [0.1, 0.1, 0.4, 0.1, 0.4, 0.4, 0.1, 0.4]
WHOLE = [0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
CLOSED = [*WHOLE, 0.0, 0.0]
TRIANGLE = [0.7, 0.7, 0.9, 0.7, 0.8, 0.9]


def corners(values: list[float]) -> np.ndarray:
    return np.array(values).reshape(-1, 2)


@pytest.mark.parametrize("shape", [PENTAGON, ARROW, SQUARE, WHOLE, CLOSED, TRIANGLE])
def test_a_polygon_is_no_box_and_key_points(shape):
    assert key_point_line([shape]) is None
    assert key_point_line([shape] * 10) is None


@pytest.mark.parametrize("first", range(4))
@pytest.mark.parametrize("direction", [1, -1])
def test_a_polygon_around_the_whole_image_may_begin_at_any_corner(first, direction):
    shape = np.roll(corners(WHOLE)[::direction], first, axis=0)
    assert key_point_line([shape.ravel().tolist()]) is None


@pytest.mark.parametrize("middle", [(0.5, 0.5), (0.3, 0.6), (0.2, 0.2), (0.9, 0.1)])
@pytest.mark.parametrize("count", [3, 4, 9, 40])
def test_a_small_polygon_is_none_wherever_it_lies(middle, count):
    """Its second corner, as the size of a box, would make that far larger than the polygon."""
    radius = min(middle) / 10
    angles = np.arange(count) * 2 * math.pi / count
    around = np.array(middle) + radius * np.stack([np.cos(angles), np.sin(angles)], 1)
    assert key_point_line([around.ravel().tolist()]) is None


def random_polygon(random: np.random.Generator, count: int) -> list[float]:
    radius = random.uniform(0.02, 0.4)
    angles = np.sort(random.uniform(0, 2 * math.pi, count))
    around = np.stack([np.cos(angles), np.sin(angles)], 1) * random.uniform(0.6, 1, (count, 1))
    return list((random.uniform(radius, 1 - radius, 2) + radius * around).ravel())


def pose(random: np.random.Generator, count: int, spread: float, visibility: bool) -> list[float]:
    """A box and key points that are ``spread`` boxes around its middle, a fifth of them not visible."""
    size = random.uniform(0.1, 0.7, 2)
    middle = random.uniform(size / 2, 1 - size / 2)
    points = (middle + random.uniform(-spread / 2, spread / 2, (count, 2)) * size).clip(0, 1)
    seen = random.random((count, 1)) > 0.2
    columns = [points * seen, seen] if visibility else [points]
    return [round(float(value), 6) for value in (*middle, *size, *np.concatenate(columns, 1).ravel())]


@pytest.mark.parametrize("count", [3, 4, 6, 20])
def test_scattered_polygons_of_one_number_of_corners_are_none(count):
    random = np.random.default_rng(0)
    for _ in range(20):
        assert key_point_line([random_polygon(random, count) for _ in range(12)]) is None


@pytest.mark.parametrize("visibility", [False, True])
@pytest.mark.parametrize("count", [2, 4, 17])
def test_key_points_of_which_a_quarter_is_outside_their_boxes_are_found(count, visibility):
    random = np.random.default_rng(0)
    for _ in range(20):
        assert key_point_line([pose(random, count, 1.15, visibility) for _ in range(12)]) is not None


def test_a_few_lines_of_another_kind_do_not_decide():
    random = np.random.default_rng(0)
    lines = [pose(random, 4, 1, False) for _ in range(40)]
    assert key_point_line([PENTAGON, WHOLE, *lines]) == 2  # the first that looks like it
    assert key_point_line([*lines, *(random_polygon(random, 4 + number) for number in range(10))]) is None


def test_no_line_is_none():
    assert key_point_line([]) is None
