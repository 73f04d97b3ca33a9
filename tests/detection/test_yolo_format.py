"""Tests of the YOLO reader: polygons, bad lines, missing pairs, lists of images, orientation, wrong data.yaml."""

import json
import logging
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.detection.formats import named, write_yolo, yolo


def labels(folder: Path, text: str) -> Path:
    (write_yolo(folder) / "labels" / "val" / "china.txt").write_text(text)
    return folder


def test_a_polygon_becomes_the_box_around_it(tmp_path):
    data = yolo(labels(tmp_path, "2 0.25 0.2 0.5 0.6 0.75 0.4\n\n"))
    ((name, box),) = named(data.dataset("val")[0], data.categories)
    assert name == "dahlia"
    assert box == pytest.approx([40, 0.2 * 107, 120, 0.6 * 107], abs=1e-3)


KEYPOINTS = (
    "0 0.5 0.5 0.4 0.6 0.4 0.3 2 0.6 0.7 1\n1 0.3 0.4 0.2 0.2 0.25 0.35 0 0 0 0\n",  # x, y and visibility
    "0 0.5 0.5 0.4 0.6 0.4 0.3 0.6 0.7 0.5 0.5\n1 0.3 0.4 0.2 0.2 0.25 0.35 0 0 0.3 0.4\n",  # x and y
)


@pytest.mark.parametrize("lines", [KEYPOINTS[0].replace(" 2 ", " 1 "), KEYPOINTS[1]])
def test_lines_of_key_points_are_no_polygons(tmp_path, lines):
    labels(tmp_path, lines)
    with pytest.raises(ValueError, match=r"labels/val/china.txt line 1 looks like a box and key points, .* kpt_shape"):
        yolo(tmp_path)
    file = tmp_path / "data.yaml"
    file.write_text(file.read_text() + "\nkpt_shape: null\n")
    assert len(yolo(tmp_path).dataset("val")[0]["boxes"]) == 2


def test_one_key_point_outside_its_box_does_not_make_polygons_of_all_lines(tmp_path):
    """A label of a pose data set may have a key point that is occluded, or drawn beside the box."""
    inside = "0 0.5 0.5 0.4 0.6 0.4 0.3 0.6 0.7\n1 0.3 0.4 0.2 0.2 0.25 0.35 0.35 0.45\n"
    labels(tmp_path, "0 0.5 0.5 0.2 0.2 0.1 0.1 0.95 0.9\n" + inside)
    with pytest.raises(
        ValueError, match=r"china.txt line 1 looks like a box and key points, as do most lines of 9 num"
    ):
        yolo(tmp_path)


def test_polygons_of_one_number_of_corners_are_no_key_points(tmp_path):
    labels(tmp_path, "0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5\n1 0.6 0.6 0.9 0.6 0.9 0.9 0.6 0.9\n")
    assert len(yolo(tmp_path).dataset("val")[0]["boxes"]) == 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0 320 240 50 50", "has the value 320, but it must be in [0, 1]"),
        ("0 0.5 -0.1 0.2 0.2", "has the value -0.1, but it must be in [0, 1]"),
        ("0 nan 0.5 0.2 0.2", "has '0 nan 0.5 0.2 0.2', but it must be numbers"),
        ("0 0.5 0.5 0.2", "has 4 numbers, but it must be class cx cy w h"),
        ("0 0.5 0.5 0.2 0.2 0.9", "has 6 numbers, but it must be class cx cy w h"),
        ("0_1 0.5 0.5 0.2 0.2", "has '0_1 0.5 0.5 0.2 0.2', but it must be numbers"),
        ("cat 0.5 0.5 0.2 0.2", "has 'cat 0.5 0.5 0.2 0.2', but it must be numbers"),
        ("0.5 0.5 0.5 0.2 0.2", "has the class 0.5, but it must be a whole number from 0"),
        ("-1 0.5 0.5 0.2 0.2", "has the class -1, but it must be a whole number from 0"),
        ("5 0.5 0.5 0.2 0.2", "has category 5, which is not among its categories [0, 1, 2, 3, 4]"),
    ],
)
def test_a_bad_line_is_named_with_its_file_and_number(tmp_path, line, reason):
    labels(tmp_path, f"0 0.5 0.5 0.2 0.2\n{line}\n")
    with pytest.raises(ValueError, match=re.escape(f"labels/val/china.txt line 2 {reason}")) as refused:
        yolo(tmp_path)
    assert str(refused.value).isprintable()


def test_boxes_without_area_are_dropped_or_refused_as_coco_s_are(tmp_path, caplog):
    labels(tmp_path, "0 0.5 0.5 0.2 0.2\n1 0.5 0.5 0 0.1\n")
    with caplog.at_level(logging.INFO):
        assert len(yolo(tmp_path).dataset("val")[0]["boxes"]) == 1
    assert re.search(r"dropped boxes without area in their image \(1\): \S+labels/val/china.txt line 2", caplog.text)
    with pytest.raises(ValueError, match=r"china.txt line 2 has the box .*, with no area inside an image of 160 x 107"):
        yolo(tmp_path, bad_boxes="error")


def test_missing_pairs_are_reported(tmp_path, caplog):
    write_yolo(tmp_path)
    (tmp_path / "labels" / "val" / "china.txt").rename(tmp_path / "labels" / "val" / "chine.txt")
    (tmp_path / "labels" / "val" / "classes.txt").write_text("pagoda\n")
    with caplog.at_level(logging.INFO):
        assert len(yolo(tmp_path).dataset("val")[0]["boxes"]) == 0
    assert (
        "images without a file of labels, which count as images without objects (1): images/val/china.jpg"
        in caplog.text
    )
    assert re.search(r"left out files of labels that have no image \(1\): \S+labels/val/chine.txt$", caplog.text, re.M)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("train: images/train\nval: images/val\n", "must have names"),
        ("train: images/train\nnames: [a]\n", "has no val"),
        ("train: images/train\nval: images/none\nnames: [a]\n", "names images/none as val, but there is no"),
        ("train: images/train\nval: images/val\nnames: [a]\nnc: 2\n", "has 1 names, but nc is 2"),
        ("train: images/train\nval: images/val\nnames: {x: a}\n", "must have names"),
        ("train: images/train\nval: images/val\nnames: [a, b, a]\n", "must have a different text as the name of each"),
        ("train: images/train\nval: images/val\nnames: [1, '1']\n", "must have a different text as the name of each"),
        ("train: images/train\nval: images/val\nnames: {1: a, '01': b}\n", "must have each class once among its names"),
        ("train: images/train\nval: images/val\nnames: [yes, no]\n", "must have a different text as the name of each"),
        (
            "train: images/train\nval: images/val\nnames: [a]\nnames: [b]\n",
            "is no YAML file: the key names occurs",
        ),
        (
            'train: images/train\nval: images/val\nnames: ["a\\e[2J"]\n',
            "has the name 'a\\x1b[2J', with a control character",
        ),
        ("train: [", "is no YAML file"),
        ("- a\n", "must be a mapping"),
        ("train: images/train\nval: images/val\nnames: [a]\nkpt_shape: [17, 3]\n", "describes key points"),
    ],
)
def test_a_data_yaml_that_is_wrong_is_named(tmp_path, content, message):
    (write_yolo(tmp_path) / "data.yaml").write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=f"data.yaml {re.escape(message)}"):
        yolo(tmp_path)


def test_lists_of_images_and_other_names_of_the_file(tmp_path):
    write_yolo(tmp_path)
    (tmp_path / "val.txt").write_text("./images/val/hopper.jpg\n")
    names = dict(enumerate("abcde"))
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "mine.yml").write_text(json.dumps({"train": "../images/train", "val": "val.txt", "names": names}))
    for root in (tmp_path, tmp_path / "mine.yml"):
        data = yolo(root)
        assert [Path(sample["path"]).name for sample in data.dataset("val")] == ["hopper.jpg"]
        assert data.categories[1] == (0, "a")
        assert len(data.dataset("train")) == 3


def test_only_files_that_are_not_read_are_named_unused(tmp_path, caplog):
    """Labels beside their images, and those in a folder of labels with a copy beside the images."""
    write_yolo(tmp_path)
    for split in ("train", "val"):
        for path in (tmp_path / "labels" / split).iterdir():
            (tmp_path / "images" / split / path.name).write_text(path.read_text())
        (tmp_path / "images" / split / "notes.md").touch()
    with caplog.at_level(logging.INFO):
        yolo(tmp_path)
        assert "images (4): china.txt, flower.txt, hopper.txt, notes.md." in caplog.text
        caplog.clear()
        (tmp_path / "images").rename(tmp_path / "pictures")
        file = tmp_path / "data.yaml"
        file.write_text(file.read_text().replace("images/", "pictures/"))
        assert len(yolo(tmp_path).dataset("train")[0]["boxes"])
    assert set(re.findall(r"that are no images (.*)", caplog.text)) == {"(1): notes.md."}


def test_an_image_that_is_listed_by_several_paths_counts_once(tmp_path):
    write_yolo(tmp_path)
    paths = ("./images/train/china.jpg", "images/val/../train/china.jpg", tmp_path / "images" / "train" / "china.jpg")
    (tmp_path / "train.txt").write_text("\n".join(map(str, paths)))
    content = (tmp_path / "data.yaml").read_text()
    (tmp_path / "data.yaml").write_text(re.sub(r"^train:.*$", "train: train.txt", content, flags=re.MULTILINE))
    assert len(yolo(tmp_path).dataset("train")) == 1


def test_an_upside_down_photograph_is_turned(tmp_path):
    """Its size does not say so, but programs that label for YOLO show it turned."""
    write_yolo(tmp_path)
    path = tmp_path / "images" / "val" / "china.jpg"
    image = Image.open(path)
    exif = image.getexif()
    exif[0x0112] = 3
    image.save(path, exif=exif, quality=95)
    turned = yolo(tmp_path).dataset("val")[0]["image"]
    with Image.open(path) as stored:
        corner = torch.tensor(stored.convert("RGB").getpixel((0, 0))) / 255
    torch.testing.assert_close(turned[:, -1, -1], corner, atol=1e-3, rtol=0)
