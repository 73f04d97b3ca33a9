"""Data in COCO's format: what is read, what is dropped and counted, and what is refused by name."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from lightning_coordconv.detection import CocoDetection, ImageFiles
from tests.photographs import BOXES, CATEGORIES


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images, the second without objects, of 40 x 30 pixels."""
    for name in "ab":
        Image.effect_noise((40, 30), 60).convert("RGB").save(tmp_path / f"{name}.png")
    return tmp_path


def write(folder: Path, **changes: object) -> Path:
    """An annotation file with one box of category 7, changed as wished."""
    content = {
        "images": [{"id": i, "file_name": name, "width": 40, "height": 30} for i, name in ((5, "b.png"), (3, "a.png"))],
        "annotations": [annotation(1, [10, 5, 20, 10])],
        "categories": [{"id": 9, "name": "cup"}, {"id": 7, "name": "cat"}],
    } | changes  # fmt: skip
    path = folder / "boxes.json"
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return path


def annotation(number: int, bbox: object, **changes: object) -> dict[str, object]:
    return {"id": number, "image_id": 3, "category_id": 7, "bbox": bbox, "area": 100, "iscrowd": 0, **changes}


def test_photographs(photographs):
    data = CocoDetection(photographs, photographs / "boxes.json")
    assert data.categories == {label: (identity, CATEGORIES[identity]) for label, identity in enumerate(CATEGORIES, 1)}
    china = data[0]
    assert china["image"].shape == (3, 107, 160)
    assert 0.3 < china["image"].mean() < 0.7
    assert china["image_id"] == 10
    assert Path(china["path"]).name == "china.jpg"
    assert china["boxes"].tolist() == [[edge / 4 for edge in box] for _, box in BOXES["china.jpg"]]
    assert china["labels"].tolist() == [1, 2]
    assert china["area"].tolist() == [(x2 - x1) * (y2 - y1) / 16 for _, (x1, y1, x2, y2) in BOXES["china.jpg"]]
    assert data[2]["labels"].tolist() == [4, 5]


def test_order_labels_and_images_without_boxes(folder):
    data = CocoDetection(folder, write(folder))
    assert [sample["image_id"] for sample in (data[0], data[1])] == [3, 5]
    assert data.categories == {1: (7, "cat"), 2: (9, "cup")}
    assert data[0]["boxes"].tolist() == [[10, 5, 30, 15]]
    assert data[0]["area"].tolist() == [100]
    empty = data[1]
    assert empty["boxes"].shape == (0, 4)
    assert [len(empty[key]) for key in ("labels", "area", "iscrowd")] == [0, 0, 0]


def test_crowds_only_on_request(folder):
    path = write(folder, annotations=[annotation(1, [1, 1, 5, 5]), annotation(2, [0, 0, 30, 30], iscrowd=1)])
    assert CocoDetection(folder, path)[0]["iscrowd"].tolist() == [0, 1]
    assert CocoDetection(folder, path, crowds=False)[0]["iscrowd"].tolist() == [0]


BAD = (
    [10, 5, 0, 10],
    [10, 5, 20, -1],
    [50, 5, 20, 10],
    [math.nan, 5, 20, 10],
    [1, 2, math.inf, 4],
    [1, 2, 3],
    "box",
    None,
)


def test_boxes_without_area_are_dropped_and_counted(folder):
    annotations = [annotation(number, bbox) for number, bbox in enumerate((*BAD, [35, 5, 20, 10], [30, 5, 10.5, 10]))]
    data = CocoDetection(folder, write(folder, annotations=annotations))
    assert data.dropped == len(BAD)
    assert data.clipped == 1  # half a pixel is no matter
    assert data[0]["boxes"].tolist() == [[35, 5, 40, 15], [30, 5, 40, 15]]


@pytest.mark.parametrize("bbox", BAD, ids=str)
def test_boxes_without_area_are_refused_on_request(folder, bbox):
    path = write(folder, annotations=[annotation(8, bbox)])
    with pytest.raises(ValueError, match=r"boxes.json: annotation 8 has the box .* no area inside an image of 40 x 30"):
        CocoDetection(folder, path, bad_boxes="error")


def test_transforms_keep_boxes_right(folder):
    boxes = [annotation(1, [10, 5, 20, 10]), annotation(2, [0, 0, 4, 4], category_id=9), annotation(3, [2, 2, 3, 3])]
    path = write(folder, annotations=boxes)
    flipped = CocoDetection(folder, path, [v2.RandomHorizontalFlip(p=1.0)])[0]
    assert flipped["boxes"].tolist() == [[10, 5, 30, 15], [36, 0, 40, 4], [35, 2, 38, 5]]
    torch.testing.assert_close(flipped["image"], CocoDetection(folder, path)[0]["image"].flip(2))
    smaller = CocoDetection(folder, path, [v2.Resize((15, 20))])[0]
    assert smaller["boxes"][0].tolist() == [5, 2.5, 15, 7.5]
    assert smaller["area"][0].item() == 25  # a quarter
    middle = CocoDetection(folder, path, [v2.CenterCrop((20, 20))])[0]  # from (10, 5): the others are cut off
    assert middle["boxes"].tolist() == [[0, 0, 20, 10]]
    assert [middle[key].tolist() for key in ("labels", "iscrowd", "area")] == [[1], [0], [100]]
    assert type(middle["boxes"]) is type(middle["image"]) is torch.Tensor
    assert middle["image"].dtype == torch.float32
    coloured = CocoDetection(folder, path, [v2.RandomPhotometricDistort(p=1.0)])[0]
    assert coloured["boxes"].tolist() == [[10, 5, 30, 15], [0, 0, 4, 4], [2, 2, 5, 5]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": None}, "no list of images"),
        ({"annotations": {}, "categories": None}, "no list of annotations, categories"),
        ({"images": [{"id": 1, "width": 3}]}, r"images\[0\] has no file_name, height"),
        ({"annotations": ["box"]}, r"annotations\[0\] has no id, image_id, category_id, bbox"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "two of its categories have the same id"),
        ({"annotations": [], "images": []}, "has no images"),
        (
            {"annotations": [annotation(4, [1, 1, 2, 2], image_id=99)]},
            "annotation 4 is of image 99, which is not among",
        ),
        (
            {"annotations": [annotation(4, [1, 1, 2, 2], category_id=1)]},
            re.escape("annotation 4 has category 1, which is not among its categories [7, 9]"),
        ),
    ],
)
def test_files_that_are_not_coco_s_are_refused(folder, changes, message):
    with pytest.raises(ValueError, match=f"boxes.json.* {message}"):
        CocoDetection(folder, write(folder, **changes))


def test_no_file_and_no_json(folder):
    with pytest.raises(FileNotFoundError, match=r"there is no annotation file .*/none.json"):
        CocoDetection(folder, folder / "none.json")
    (folder / "boxes.json").write_text('{"images": [')
    with pytest.raises(ValueError, match=r"boxes.json is no JSON file: Expecting"):
        CocoDetection(folder, folder / "boxes.json")
    (folder / "boxes.json").write_text("[]")
    with pytest.raises(ValueError, match=r"boxes.json is not in COCO's format: it has no list of images, annotations"):
        CocoDetection(folder, folder / "boxes.json")


def test_bad_images(folder):
    path = write(folder)
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:300])
    (folder / "b.png").unlink()
    data = CocoDetection(folder, path)
    for index, name in enumerate("ab"):
        with pytest.raises(OSError, match=f"{folder}/{name}.png cannot be read as an image: .*; replace or remove it"):
            data[index]
    data = CocoDetection(folder, path, bad_images="drop")
    assert len(data) == 0
    assert [reason.split(" cannot")[0] for reason in data.unreadable] == [f"{folder}/{name}.png" for name in "ab"]


def test_an_image_of_another_size(folder):
    Image.new("RGB", (30, 40)).save(folder / "a.png")
    with pytest.raises(ValueError, match=r"a.png has 30 x 40 pixels, but 40 x 30 as image 3 of .*boxes.json"):
        CocoDetection(folder, write(folder))[0]


def test_folder_of_images(folder):
    (folder / "deeper").mkdir()
    Image.new("L", (8, 6), 255).save(folder / "deeper" / "c.JPG")
    data = ImageFiles(folder)
    assert [(sample["image_id"], Path(sample["path"]).name) for sample in map(data.__getitem__, range(3))] == [
        (1, "a.png"), (2, "b.png"), (3, "c.JPG")
    ]  # fmt: skip
    assert data[2]["image"].shape == (3, 6, 8)
    assert data[2]["image"].min() > 0.99
    (folder / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"there are no images \(.jpg, .*\) in .*/empty"):
        ImageFiles(folder / "empty")
