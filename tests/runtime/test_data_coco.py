"""Tests of how ``data check`` pairs COCO's annotation files with folders of images, and which options it prints."""

import json
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

from lightning_coordconv.detection import CocoDetectionDataModule
from tests.runtime.data_folders import check

SPLITS = ("train", "val")
GREY = {"train": 40, "val": 120, "test": 220}


def write(root: Path, files: dict[str, str], folders: dict[str, str]) -> Path:
    """Write an annotation file and a folder for each split; folders number their images alike."""
    root.mkdir()
    for split, name in folders.items():
        (root / name).mkdir(parents=True)
        Image.new("L", (20, 10), GREY[split]).save(root / name / "0.png")
    image = {"id": 1, "file_name": "0.png", "width": 20, "height": 10}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0}
    for name in files.values():
        content = {"images": [image], "annotations": [box], "categories": [{"id": 1, "name": "a"}]}
        (root / name).write_text(json.dumps(content))
    return root


def options(report: str) -> dict[str, str]:
    """Return the options of the command in a report by name."""
    words = shlex.split(next(line for line in report.splitlines() if line.startswith("train with")))
    return {name.removeprefix("--data."): value for name, value in pairwise(words) if name.startswith("--data.")}


def named(pattern: str, splits: tuple[str, ...]) -> dict[str, str]:
    return {split: pattern.format(split) for split in splits}


@pytest.mark.parametrize(
    ("file", "folder", "splits"),
    [
        ("{}.json", "{}", ("train", "val")),
        ("{}.json", "{}", ("train", "val", "test")),
        ("{}_annotations.json", "{}", ("train", "val", "test")),
        ("boxes_{}2017.json", "images/{}2017", ("train", "val", "test")),
        ("my-{}.v1.json", "{}_images", ("train", "val", "test")),
    ],
)
def test_the_command_trains_and_tests_each_file_on_the_images_of_its_split(tmp_path, capsys, file, folder, splits):
    root = write(tmp_path / "data", named(file, splits), named(folder, splits))
    code, report = check(root, capsys)
    assert code == 0, report
    given = options(report)
    assert given.keys() == {"root"} | {f"{split}_{what}" for split in splits for what in ("annotations", "images")}
    data = CocoDetectionDataModule(**given, num_workers=0)
    for split in splits:
        assert data.dataset(split)[0]["image"].mean() == pytest.approx(GREY[split] / 255, abs=1e-6)
    assert "pictures in no split" not in report


def test_crowds_count_in_the_splits_of_evaluation_only_however_the_files_are_named(tmp_path, capsys):
    reports = []
    for pattern in ("{}", "boxes_{}2017"):
        root = write(tmp_path / pattern.format("data"), named(f"{pattern}.json", SPLITS), named("{}", SPLITS))
        for split in SPLITS:
            file = root / f"{pattern.format(split)}.json"
            content = json.loads(file.read_text())
            crowd = content["annotations"][0] | {
                "id": 2,
                "iscrowd": 1,
                "segmentation": {"size": [10, 20], "counts": [200]},
            }
            file.write_text(json.dumps(content | {"annotations": [*content["annotations"], crowd]}))
        _, report = check(root, capsys)
        reports.append([line.split()[3] for line in report.splitlines() if "20 x 10" in line])
    assert reports == [["1", "2"]] * 2  # boxes of each split


def test_folders_that_no_name_tells_apart_are_refused(tmp_path, capsys):
    root = write(tmp_path / "data", {"train": "boxes.json"}, {"train": "left", "val": "right"})
    code, report = check(root, capsys)
    assert code == 1
    assert f"in several folders, {root / 'left'} and {root / 'right'}: name the file after that of its images" in report
    (root / "boxes.json").rename(root / "right.json")
    assert options(check(root, capsys)[1])["train_images"] == "right"


def test_a_folder_named_after_another_split_is_taken_if_it_is_the_only_one(tmp_path, capsys):
    root = write(tmp_path / "data", {"train": "train.json", "val": "val.json"}, {"train": "val"})
    assert options(check(root, capsys)[1])["train_images"] == "val"


def write_official(root: Path, kinds: tuple[str, ...]) -> Path:
    """Write the folder of COCO's archives: several annotation files of each split, in a folder beside the images."""
    splits = ("train2017", "val2017")
    for number, split in enumerate(splits):
        (root / split).mkdir(parents=True)
        Image.new("L", (20, 10), 50 * number).save(root / split / f"{split}.png")
        image = {"id": 1, "file_name": f"{split}.png", "width": 20, "height": 10}
        box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0}
        person, dog = {"id": 1, "name": "person"}, {"id": 2, "name": "dog"}
        contents = {
            "captions": {"images": [image], "annotations": [{"id": 1, "image_id": 1, "caption": "A person."}]},
            "instances": {"images": [image], "annotations": [box], "categories": [person, dog]},
            "person_keypoints": {
                "images": [image],
                "annotations": [box | {"keypoints": [2, 2, 2], "num_keypoints": 1}],
                "categories": [person | {"keypoints": ["nose"]}],
            },
        }
        (root / "annotations").mkdir(exist_ok=True)
        for kind in kinds:
            (root / "annotations" / f"{kind}_{split}.json").write_text(json.dumps(contents[kind]))
    return root


@pytest.mark.parametrize(
    ("kinds", "used"),
    [
        (("captions", "instances", "person_keypoints"), "instances"),
        (("captions", "person_keypoints"), "person_keypoints"),
        (("instances", "person_keypoints"), "instances"),
    ],
)
def test_files_of_a_split_that_are_no_annotations_of_its_boxes_are_named_as_unused(tmp_path, capsys, kinds, used):
    code, report = check(write_official(tmp_path / "data", kinds), capsys)
    assert code == 0, report
    assert options(report)["train_annotations"] == f"annotations/{used}_train2017.json"
    for split in ("train2017", "val2017"):
        for kind in set(kinds) - {used}:
            line = f"note: {kind}_{split}.json is not used: the boxes of {split} are in {used}_{split}.json"
            assert line in report.splitlines()
    assert report.count("is not used") == 2 * (len(kinds) - 1)


def test_a_file_without_boxes_is_refused_where_its_split_has_no_other(tmp_path, capsys):
    code, report = check(write_official(tmp_path / "data", ("captions",)), capsys)
    assert code == 1
    assert "captions_train2017.json is not in COCO's format: it has no list of categories" in report
