"""Tests of the data sets of COCO files and image folders: boxes, crowds, orientation, links, bad files."""

import math
import re
from pathlib import Path

import pytest
import torch
from PIL import ExifTags, Image

from lightning_coordconv.detection import CocoDetection, ImageFiles
from tests.detection.annotations import annotation, write
from tests.photographs import BOXES, CATEGORIES, noise


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


@pytest.mark.parametrize("bad_images", ["error", "drop"])
def test_a_folder_without_any_of_the_images_is_named_with_its_option(folder, bad_images):
    (folder / "other").mkdir()
    message = rf"none of the images of \S+ is in {folder / 'other'}, such as \S+: train_images, val_images"
    with pytest.raises(FileNotFoundError, match=message):
        CocoDetection(folder / "other", write(folder), bad_images=bad_images)


def test_crowds_only_on_request(folder):
    path = write(folder, annotations=[annotation(1, [1, 1, 5, 5]), annotation(2, [0, 0, 30, 30], iscrowd=1)])
    assert CocoDetection(folder, path)[0]["iscrowd"].tolist() == [0, 1]
    assert CocoDetection(folder, path, crowds=False)[0]["iscrowd"].tolist() == [0]


BAD = ([10, 5, 0, 10], [10, 5, 20, -1], [50, 5, 20, 10], [10, 5, 1e-9, 10], [math.nan, 5, 20, 10], [1, 2, math.inf, 4])


def test_boxes_without_area_are_dropped_and_named(folder):
    annotations = [annotation(number, bbox) for number, bbox in enumerate((*BAD, [35, 5, 20, 10], [30, 5, 10.5, 10]))]
    data = CocoDetection(folder, write(folder, annotations=annotations))
    assert data.dropped == list(range(len(BAD)))
    assert data.clipped == [len(BAD)]  # half a pixel is no matter
    assert data[0]["boxes"].tolist() == [[35, 5, 40, 15], [30, 5, 40, 15]]
    assert data.remarks() == [
        "dropped boxes without area in their image (6), by id 0, 1, 2, 3, 4 and 1 more",
        "cut boxes at the border of their image (1), by id 6",
    ]


@pytest.mark.parametrize("bbox", BAD, ids=str)
def test_boxes_without_area_are_refused_on_request(folder, bbox):
    path = write(folder, annotations=[annotation(8, bbox)])
    with pytest.raises(ValueError, match=r"boxes.json: annotation 8 has the box .* no area inside an image of 40 x 30"):
        CocoDetection(folder, path, bad_boxes="error")


@pytest.mark.parametrize(
    ("annotations", "crowds", "reason"),
    [
        ([], True, "no annotations"),
        ([annotation(8, [50, 5, 20, 10])], True, r"dropped boxes without area in their image \(1\), by id 8"),
        ([annotation(9, [1, 1, 5, 5], iscrowd=1)], False, r"left out crowds .* \(1\), by id 9"),
        ([annotation(9, [1, 1, 5, 5], iscrowd=1)], True, "only crowds"),
    ],
)
def test_a_file_without_a_box_to_detect_is_refused(folder, annotations, crowds, reason):
    with pytest.raises(ValueError, match=f"boxes.json has no box to detect in the .* of a split: .*{reason}"):
        CocoDetection(folder, write(folder, annotations=annotations), crowds=crowds)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": None}, "no list of images"),
        ({"annotations": {}, "categories": None}, "no list of annotations, categories"),
        ({"images": [{"id": 1, "width": 3}]}, r"images\[0\] has no file_name, height"),
        ({"annotations": ["box"]}, r"annotations\[0\] has no id, image_id, category_id, bbox"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "two of its categories have the same id 1"),
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
    damaged = folder / "b.png"
    damaged.write_bytes(damaged.read_bytes()[:300])
    with pytest.raises(OSError, match=f"{damaged} cannot be read as an image: .*; replace or remove it"):
        CocoDetection(folder, path)[1]
    data = CocoDetection(folder, path, bad_images="drop")
    assert [sample["image_id"] for sample in (data[index] for index in range(len(data)))] == [3]
    assert [reason.split(" cannot")[0] for reason in data.unreadable] == [str(damaged)]
    files = ImageFiles(folder, bad_images="drop")
    assert [Path(files[index]["path"]).name for index in range(len(files))] == ["a.png"]
    assert len(files.remarks()) == 1
    assert str(damaged) in files.remarks()[0]
    (folder / "a.png").unlink()
    for build in (
        lambda: CocoDetection(folder, path, bad_images="drop"),
        lambda: ImageFiles(folder, bad_images="drop"),
    ):
        with pytest.raises(OSError, match=r"none of the [12] images of .* can be read; the first: .*png cannot be"):
            build()


def test_images_out_of_the_folder_are_refused_unless_allowed(folder):
    inside = folder / "inside"
    inside.mkdir()
    for name in ("../a.png", str(folder / "a.png"), "link.png"):
        if name == "link.png":
            (inside / name).symlink_to(folder / "a.png")
        path = write(folder, images=[{"id": 3, "file_name": name, "width": 40, "height": 30}])
        with pytest.raises(OSError, match=r"a.png|link.png.* outside of the folder .*inside, or a link"):
            CocoDetection(inside, path)[0]
        assert CocoDetection(inside, path, links="anywhere")[0]["image"].shape == (3, 30, 40)
    with pytest.raises(OSError, match=r"link.png.* outside of the folder"):
        ImageFiles(inside)[0]
    assert ImageFiles(inside, links="anywhere")[0]["image"].shape == (3, 30, 40)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_an_image_is_turned_if_the_sizes_say_so(folder, orientation, suffix):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    noise((40, 30)).convert("RGB").save(folder / f"a.{suffix}", exif=exif)
    image = {"id": 3, "file_name": f"a.{suffix}"}
    stored = CocoDetection(folder, write(folder, images=[image | {"width": 40, "height": 30}]))[0]["image"]
    assert stored.shape == (3, 30, 40)
    turned = CocoDetection(folder, write(folder, images=[image | {"width": 30, "height": 40}]))
    if orientation in (6, 8):
        torch.testing.assert_close(turned[0]["image"], stored.rot90(-1 if orientation == 6 else 1, (1, 2)))
    else:
        with pytest.raises(ValueError, match=rf"has 40 x 30 pixels \(EXIF orientation {orientation}\), but 30 x 40"):
            turned[0]


def test_an_image_of_another_size(folder):
    Image.new("RGB", (30, 40)).save(folder / "a.png")
    with pytest.raises(
        ValueError, match=r"a.png has 30 x 40 pixels \(EXIF orientation 1\), but 40 x 30 as image 3 of .*boxes.json"
    ):
        CocoDetection(folder, write(folder))[0]


def test_folder_of_images(folder):
    (folder / "deeper").mkdir()
    Image.new("L", (8, 6), 255).save(folder / "deeper" / "c.JPG")
    data = ImageFiles(folder)
    names = ["a.png", "b.png", "deeper/c.JPG"]
    samples = [data[index] for index in range(3)]
    assert [(sample["image_id"], sample["file_name"]) for sample in samples] == list(enumerate(names, start=1))
    assert [sample["path"] for sample in samples] == [str(folder / name) for name in names]
    assert data[2]["image"].shape == (3, 6, 8)
    assert data[2]["image"].min() > 0.99
    (folder / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"there are no images \(.jpg, .*\) in .*/empty"):
        ImageFiles(folder / "empty")
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*/missing"):
        ImageFiles(folder / "missing")


@pytest.mark.parametrize("policy", ["bad_boxes", "bad_images", "links"])
def test_a_policy_that_does_not_exist_is_refused(folder, policy):
    with pytest.raises(ValueError, match=rf"{policy} must be .*drop|{policy} must be 'inside' or 'anywhere'"):
        CocoDetection(folder, write(folder), **{policy: "nonsense"})


def test_a_key_that_occurs_twice_is_refused(folder):
    text = write(folder).read_text()
    (folder / "boxes.json").write_text(text.replace('"bbox":', '"bbox": [0, 0, 1, 1], "bbox":', 1))
    with pytest.raises(ValueError, match=r"boxes.json is no JSON file: the key 'bbox' occurs twice in one object"):
        CocoDetection(folder, folder / "boxes.json")
