"""Tests that implausible annotations are reported: boxes in fractions, duplicates, wrong areas, similar class names."""

from pathlib import Path

import pytest

from lightning_coordconv.detection.annotations import Annotations
from lightning_coordconv.detection.plausibility import implausible

SHARES = "all boxes are in the first pixel of their image: are they shares of its width and height?"


def remarks(*rows: dict) -> list[str]:
    annotations = [{"id": number, "image_id": 1, "category_id": 1, **row} for number, row in enumerate(rows, start=1)]
    return implausible(Annotations(Path("boxes.json"), {"annotations": annotations, "categories": []}))


def box(*values: float, **others: object) -> dict:
    return {"bbox": list(values), **others}


@pytest.mark.parametrize("rows", [[box(0.1, 0.2, 0.3, 0.4)], [box(0, 0, 1, 1), box(0.5, 0.5, 0.5, 0.25)]])
def test_boxes_in_shares_of_the_image_are_noticed(rows):
    assert remarks(*rows) == [SHARES]


@pytest.mark.parametrize("rows", [[], [box(0, 0, 1, 1), box(3, 4, 5, 6)], [box(1, 0, 1, 1)]])
def test_boxes_in_pixels_are_not(rows):
    assert remarks(*rows) == []


def test_a_box_that_is_given_twice_is_named():
    again = [box(1, 2, 5, 6), box(3, 3, 5, 6), box(1, 2, 5, 6)]
    assert remarks(*again) == ["boxes that are the same as another of their class in their image (1), by id 3"]


@pytest.mark.parametrize(
    "change",
    [
        {"image_id": 2},
        {"category_id": 2},
        {"iscrowd": 1},
        {"segmentation": [[1, 2, 6, 2, 6, 8]]},
        {"keypoints": [1, 2, 2]},
    ],
)
def test_objects_that_share_a_box_are_not(change):
    assert remarks(box(1, 2, 5, 6), box(1, 2, 5, 6, **change)) == []


@pytest.mark.parametrize("area", [0, 0.0, 57, 1e9])
def test_an_area_that_no_object_in_its_box_has_is_named(area):
    line = "objects with an area of 0, or a larger one than their box (1), by id 2"
    assert remarks(box(1, 2, 5, 6, area=30), box(11, 2, 5, 6, area=area)) == [line]


@pytest.mark.parametrize("area", [0.5, 15, 30, 30.5, 42])
def test_an_area_that_one_can_have_is_not(area):
    """Boxes may be rounded, or leave out their last pixel."""
    assert remarks(box(1, 2, 5, 6, area=area)) == []


@pytest.mark.parametrize("bbox", [(1, 2, 0, 6), (1, 2, -5, 6), (1, 2, float("nan"), 6), (1, 2, float("inf"), 6)])
def test_boxes_that_are_dropped_are_left_to_that_remark(bbox):
    assert remarks(box(*bbox, area=0), box(1, 2, 5, 6)) == []


@pytest.mark.parametrize("name", ["a dog", "Cat", "cat ", "c at"])
def test_classes_whose_names_differ_in_case_or_spaces_are_named(name):
    categories = [{"id": number, "name": text} for number, text in enumerate(("cat", "dog", name))]
    line = f"the classes 'cat', {name!r} differ only in case or spaces: are they one?"
    found = implausible(Annotations(Path("boxes.json"), {"annotations": [], "categories": categories}))
    assert found == ([] if name == "a dog" else [line])


def test_classes_whose_names_look_the_same_are_named_by_their_characters():
    categories = [{"id": number, "name": text} for number, text in enumerate(("caf\u00e9", "cafe\u0301", "dog"))]
    assert implausible(Annotations(Path("boxes.json"), {"annotations": [], "categories": categories})) == [
        r"the classes 'caf\xe9', 'cafe\u0301' differ only in case, the form of accents or spaces: are they one?"
    ]
