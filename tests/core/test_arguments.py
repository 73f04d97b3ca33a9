"""Tests that classes of coordinates and classification refuse integer arguments out of range or of another type."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightning_coordconv import classification, coordinates
from lightning_coordconv.core import check_at_least
from lightning_coordconv.core.arguments import check_share

GIVEN: dict[str, dict[str, Any]] = {"NotSoClevr": {"split": "all"}, "PlacedDigits": {"split": "val"}}
GIVEN |= {"PooledClassifier": {"num_classes": 4}, "PointsDataModule": {"file": "points.csv"}}
GIVEN |= {"PointImages": {"folder": Path(), "points": []}}
BUILDS = {name: getattr(room, name) for room in (coordinates, classification) for name in room.__all__}
CASES = [
    (name, parameter)
    for name, build in BUILDS.items()
    if inspect.isclass(build) and name not in ("ImageFolderDataModule", "Classification")  # the second is a result
    for parameter in inspect.signature(build).parameters.values()
    if parameter.annotation in (int, int | None)
]


def test_there_are_cases():
    assert len(CASES) > 35


@pytest.mark.parametrize("value", [-1, -(2**70), 1.5, True, "8", float("nan")])
@pytest.mark.parametrize(("name", "parameter"), CASES, ids=lambda case: getattr(case, "name", case))
def test_an_integer_out_of_range_is_refused_by_name(name, parameter, value):
    arguments = GIVEN.get(name, {}) | {parameter.name: value}
    with pytest.raises(
        ValueError, match=rf"^{parameter.name} must be (an integer( or None)?|(an integer, )?at least \d+), got [^\n]+$"
    ):
        BUILDS[name](**arguments)


ZERO = [case for case in CASES if case[1].name not in ("seed", "num_workers", "margin")]


@pytest.mark.parametrize(("name", "parameter"), ZERO, ids=lambda case: getattr(case, "name", case))
def test_nothing_is_refused_where_something_is_needed(name, parameter):
    with pytest.raises(ValueError, match=rf"^{parameter.name} must be at least \d+, got 0$"):
        BUILDS[name](**GIVEN.get(name, {}) | {parameter.name: 0})


def test_integers_of_numpy_are_integers():
    check_at_least(1, count=np.int64(3))


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), "0.5", None, True, [0.5], 1j])
def test_a_share_is_a_number_from_0_to_1(value):
    with pytest.raises(ValueError, match=r"^threshold must be a number in \[0, 1\], got "):
        check_share(threshold=value)
    check_share(threshold=0, other=1, third=np.float32(0.5))
