"""Tests that COCO files, generated at random or with known mistakes, are loaded whole or refused in one line."""

import copy
import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lightning_coordconv.detection import CocoDetection

QUICK = settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 50),
        st.integers(),
        st.floats(),
        st.text(max_size=5),
        st.sampled_from(["0", "1", "10", "", "\ud800", "\0", "a.png", "../a.png", "/", "ü.png", "画像"]),
    ),
    lambda values: st.lists(values, max_size=5) | st.dictionaries(st.sampled_from("xywh"), values, max_size=4),
    max_leaves=5,
)
KEYS = {
    "images": ("id", "file_name", "width", "height"),
    "annotations": ("id", "image_id", "category_id", "bbox", "area", "iscrowd"),
    "categories": ("id", "name"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("coco")
    for name in ("a.png", "b.png", "c.png", "ü.png"):
        Image.new("RGB", (40, 30)).save(root / name)
    return root


@st.composite
def files(draw: st.DrawFn) -> dict[str, Any]:
    """Draw valid files: ids with gaps and in any order, Unicode, boxes that stick out, images without any."""
    identities = st.lists(st.integers(-5, 10**9), min_size=1, max_size=4, unique=True)
    images, categories = draw(identities), draw(identities)
    side = st.floats(-10, 60, allow_nan=False) | st.integers(-10, 60)
    annotations = [
        {
            "id": number,
            "image_id": draw(st.sampled_from(images)),
            "category_id": draw(st.sampled_from(categories)),
            "bbox": [draw(side) for _ in range(4)],
            **draw(st.fixed_dictionaries({}, optional={"area": st.floats(0, 1e6), "iscrowd": st.sampled_from([0, 1])})),
        }
        for number in range(draw(st.integers(1, 6)))
    ]
    names = ["a.png", "b.png", "ü.png", "./c.png"]
    texts = st.text("aü猫 $_{}\\", max_size=4)
    return {
        "images": [
            {"id": i, "file_name": name, "width": 40, "height": 30}
            for i, name in zip(images, draw(st.permutations(names)), strict=False)
        ],
        "annotations": draw(st.permutations(annotations)),
        "categories": [
            {"id": i, "name": name}
            for i, name in zip(
                categories,
                draw(st.lists(texts, min_size=len(categories), max_size=len(categories), unique=True)),
                strict=True,
            )
        ],
    }


def load(folder: Path, content: object) -> CocoDetection | str:
    """Load a file and all of its images; return the data set, or the one line that refuses it."""
    path = folder / "boxes.json"
    path.write_text(json.dumps(content))
    try:
        data = CocoDetection(folder, path)
        for index in range(len(data)):
            check_sample(data[index])
    except (ValueError, OSError) as error:
        message = str(error)
        assert message.isprintable(), message  # one line
        assert "boxes.json" in message or "cannot be read as an image" in message
        return message
    return data


def check_sample(sample: dict[str, Any]) -> None:
    x1, y1, x2, y2 = sample["boxes"].unbind(1)
    assert ((x1 >= 0) & (x1 < x2) & (x2 <= 40) & (y1 >= 0) & (y1 < y2) & (y2 <= 30)).all()
    assert len(x1) == len(sample["labels"]) == len(sample["iscrowd"]) == len(sample["area"])
    assert torch.isfinite(sample["area"]).all()
    assert (sample["area"] >= 0).all()


@pytest.mark.slow
@QUICK
@given(content=files())
def test_a_valid_file_loses_nothing_without_a_remark(folder, content):
    data = load(folder, content)
    if isinstance(data, str):
        assert "has no box to detect" in data
        return
    boxes = sum(len(objects["boxes"]) for objects in data.objects.values())
    assert boxes + len(data.dropped) + len(data.left_out) == len(content["annotations"])
    assert [image["id"] for image in data.images] == sorted(image["id"] for image in content["images"])
    labels = {identity: label for label, (identity, _) in data.categories.items()}
    wanted = sorted(labels[a["category_id"]] for a in content["annotations"] if a["id"] not in data.dropped)
    assert sorted(label for objects in data.objects.values() for label in objects["labels"].tolist()) == wanted


def is_valid(part: str, key: str, value: Any) -> bool:
    """Say which values of a key are of the right type, in other words than the code."""
    kind = type(value)
    if key in ("id", "image_id", "category_id"):
        return kind is int
    if key in ("file_name", "name"):
        return kind is str and not (key == "name" and any(unicodedata.category(letter) == "Cc" for letter in value))
    if key in ("width", "height"):
        return kind is int and value > 0
    if key == "bbox":
        return kind is list and len(value) == 4 and all(type(number) in (int, float) for number in value)
    if key == "area":
        return kind in (int, float) and 0 <= value < 2**53
    return kind is int and value in (0, 1)


@pytest.mark.slow
@QUICK
@given(content=files(), value=VALUES, data=st.data())
def test_a_value_of_any_type_loads_or_is_refused_by_entry_and_key(folder, content, value, data):
    part = data.draw(st.sampled_from(sorted(KEYS)))
    key = data.draw(st.sampled_from(KEYS[part]))
    number = data.draw(st.integers(0, len(content[part]) - 1))
    content = copy.deepcopy(content)
    content[part][number][key] = value
    result = load(folder, content)
    if not is_valid(part, key, value):
        assert isinstance(result, str)
        assert f"{part}[{number}]" in result
        assert key in result


@pytest.mark.slow
@QUICK
@given(content=files(), data=st.data())
def test_a_missing_key_is_named(folder, content, data):
    part = data.draw(st.sampled_from(sorted(KEYS)))
    key = data.draw(st.sampled_from([key for key in KEYS[part] if key not in ("area", "iscrowd")]))
    content = copy.deepcopy(content)
    del content[part][-1][key]
    assert f"{part}[{len(content[part]) - 1}] has no {key}" in str(load(folder, content))


@pytest.mark.slow
@QUICK
@given(content=VALUES | st.fixed_dictionaries(dict.fromkeys(KEYS, VALUES)))
def test_any_other_json_is_refused(folder, content):
    assert isinstance(load(folder, content), str)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iscrowd": "0"}, r"annotations\[0\], with the id 1, has the iscrowd '0', but it must be 0 or 1"),
        ({"iscrowd": None}, "has the iscrowd None, but it must be 0 or 1"),
        ({"area": None}, "has the area None, but it must be a number from 0"),
        ({"bbox": {"x": 10, "y": 10, "width": 30, "height": 20}}, "has the bbox {.*}, but it must be a list of four"),
        ({"bbox": ["1", "2", "3", "4"]}, r"has the bbox \['1', '2', '3', '4'\], but it must be a list of four numbers"),
    ],
)
def test_known_mistakes_are_named(folder, change, message):
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]} | change
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}],
        "annotations": [annotation],
        "categories": [{"id": 1, "name": "cat"}],
    }
    with pytest.raises(ValueError, match=f"boxes.json is not in COCO's format: .*{message}"):
        raise ValueError(load(folder, content))


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("images", {"file_name": "b.png"}, "two of its images have the same id 1"),
        ("images", {"id": 2}, "two of its images have the same file_name 'a.png'"),
        ("images", {"id": 2, "file_name": "./a.png"}, r"two of its images have the same file_name './a.png'"),
        ("annotations", {"bbox": [5, 6, 7, 8]}, "two of its annotations have the same id 1"),
        ("categories", {"name": "dog"}, "two of its categories have the same id 1"),
        ("categories", {"id": 2}, "two of its categories have the same name 'cat'"),
    ],
)
def test_what_must_be_unique_is_named(folder, part, change, message):
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    content[part].append(content[part][0] | change)
    assert re.search(f"boxes.json is not in COCO's format: {message}", load(folder, content))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_encodings_of_json(folder, encoding):
    content = {
        "images": [{"id": 1, "file_name": "ü.png", "width": 40, "height": 30}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
        "categories": [{"id": 1, "name": "猫"}],
    }
    (folder / "boxes.json").write_bytes(json.dumps(content, ensure_ascii=False).encode(encoding))
    assert CocoDetection(folder, folder / "boxes.json").categories == {1: (1, "猫")}
    (folder / "boxes.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"boxes.json is no JSON file"):
        CocoDetection(folder, folder / "boxes.json")
