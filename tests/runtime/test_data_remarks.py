"""Tests that ``data check`` says of data of each format what a run logs about them, once, and logs nothing itself."""

import json
import logging
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from PIL import ExifTags, Image
from pytorch_lightning.utilities import rank_zero_info

from lightning_coordconv.classification import ImageFolderDataModule
from lightning_coordconv.coordinates import PointsDataModule
from lightning_coordconv.core.data import BaseDataModule
from lightning_coordconv.detection import CocoDetectionDataModule, VocDetectionDataModule, YoloDetectionDataModule
from lightning_coordconv.generative import UnlabelledImagesDataModule
from lightning_coordconv.runtime import data
from lightning_coordconv.segmentation import MaskFolderDataModule
from tests.detection.annotations import annotation
from tests.detection.formats import xml
from tests.runtime.data_folders import check, row

SIZE = (12, 8)
UPSIDE_DOWN = 3


def write_images(folder: Path, count: int, first: int = 0) -> None:
    """Write images ``00.png``, ..., no two the same, of which EXIF turns the first one upside down."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = UPSIDE_DOWN if number == first else 1
        Image.new("RGB", SIZE, (5 * number, 0, 0)).save(folder / f"{number:02}.png", exif=exif)


def write_others(folder: Path) -> None:
    """Write what is no image of the data: one in another format, and a folder of a run with a figure."""
    (folder / "a.heic").write_bytes(b"heic")
    write_images(folder / "run", 1)
    for name in ("config.yaml", "hparams.yaml"):
        (folder / "run" / name).touch()


def pictures(root: Path) -> Path:
    write_images(root, 20)
    write_others(root)
    (root / "link.png").symlink_to("00.png")
    return root


def masks(root: Path, splits: tuple[str, ...] = (".",)) -> Path:
    for place, split in enumerate(splits):
        write_images(root / split / "images", 12, first=12 * place)
        (root / split / "masks").mkdir()
        for number in range(12 * place, 12 * place + 13):  # one of them of no image
            mask = Image.new("L", SIZE)
            mask.putpixel((0, 0), 1)
            mask.save(root / split / "masks" / f"{number:02}.png")
        write_others(root / split / "images")
        if split == ".":
            (root / "images" / "link.png").symlink_to("00.png")
    return root


def classes(root: Path) -> Path:
    for place, split in enumerate(("train", "val")):
        for label in (0, 1):
            write_images(root / split / f"class {label}", 2, first=4 * place + 2 * label)
        write_others(root / split / "class 0")
    return root


def points(root: Path) -> Path:
    write_images(root, 10)
    (root / "points.csv").write_text("image,x,y\n" + "".join(f"{number:02}.png,1,0.5\n" for number in range(10)))
    return root / "points.csv"


def yolo(root: Path) -> Path:
    for place, split in enumerate(("train", "val")):
        write_images(root / "images" / split, 3, first=3 * place)
        write_others(root / "images" / split)
        (root / "labels" / split).mkdir(parents=True)
        for number in (3 * place, 3 * place + 1, 9):  # none of an image, and one of none
            (root / "labels" / split / f"{number:02}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (root / "data.yaml").write_text("names: [a]\ntrain: images/train\nval: images/val\n")
    return root


def voc(root: Path) -> Path:
    write_images(root / "JPEGImages", 5)
    write_others(root / "JPEGImages")
    for folder in ("Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for number in range(4):
        image = {"file_name": f"{number:02}.png", "width": SIZE[0], "height": SIZE[1]}
        (root / "Annotations" / f"{number:02}.xml").write_text(xml(image, [("a", [0, 0, 4, 4]), ("a", [1, 1, 0, 4])]))
    for split, names in {"train": "00\n01\n", "val": "02\n03\n"}.items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text(names)
    return root


def coco(root: Path) -> Path:
    for place, split in enumerate(("train", "val")):
        write_images(root / split, 2, first=2 * place)
        names = [f"{2 * place + number:02}.png" for number in (0, 1)]
        images = [{"file_name": name, "width": SIZE[0], "height": SIZE[1]} for name in names]
        images = [image | {"id": number} for number, image in enumerate(images)]
        boxes = [annotation(number, [2, 3, 4, 4 * number], image_id=number) for number in (0, 1)]
        content = {"images": images, "annotations": boxes, "categories": [{"id": 7, "name": "a"}]}
        (root / f"{split}.json").write_text(json.dumps(content))
    return root


def coco_data(root: Path) -> CocoDetectionDataModule:
    return CocoDetectionDataModule(str(root), "train.json", "val.json", train_images="train", val_images="val")


TURNED = "images turned by their EXIF orientation"
UNPROVED = ["train: images that EXIF turns", "val: images that EXIF turns"]
LEFT_OUT = ["files in .* that are no images", "folders of runs in .*: run"]
LINK = r"links to others.*link\.png"
FORMATS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], BaseDataModule], list[str]]] = {
    "pictures": (
        pictures, lambda root: UnlabelledImagesDataModule(str(root), eval_count=2), [*LEFT_OUT, LINK]
    ),
    "images and masks": (
        masks, lambda root: MaskFolderDataModule(str(root), 2),
        [*LEFT_OUT, f"{TURNED}, unlike their masks .*00.png", r"no mask of an image .*12\.png", LINK],
    ),
    "images and masks of splits": (
        partial(masks, splits=("train", "val")), lambda root: MaskFolderDataModule(str(root), 2),
        [*LEFT_OUT, f"{TURNED}, unlike their masks .*00.png", f"{TURNED}, unlike their masks .*12.png"],
    ),
    "classes": (classes, lambda root: ImageFolderDataModule(str(root)), [r"no images of a class .*heic", LEFT_OUT[1]]),
    "points": (points, lambda file: PointsDataModule(str(file)), [f"{TURNED} .*00.png", "are they shares"]),
    "YOLO": (
        yolo, lambda root: YoloDetectionDataModule(str(root)),
        [*LEFT_OUT, f"train: {TURNED} .*00.png", f"val: {TURNED} .*03.png", "without a file of labels", r"09\.txt"],
    ),
    "Pascal VOC": (
        voc, lambda root: VocDetectionDataModule(str(root)),
        [LEFT_OUT[1], *UNPROVED, "without an XML file", "dropped boxes"],
    ),
    "COCO": (coco, coco_data, [*UNPROVED, "dropped boxes"]),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_the_report_says_once_what_a_run_logs_about_the_data(name, tmp_path, caplog, capsys, monkeypatch):
    write, make, expected = FORMATS[name]
    path = write(tmp_path / "data")
    monkeypatch.setattr(data, "SAMPLES", 0)  # draws none
    with caplog.at_level(logging.INFO):
        module = make(path)
        for split in ("train", "val"):
            module.dataset(split)
        messages = [record.getMessage().replace("of the test split", "of the val split") for record in caplog.records]
        logged = {re.sub(r"^data of the (\w+) split", r"\1", message) for message in messages}  # val serves as test too
        for line in expected:
            assert any(re.search(line, message) for message in logged), (line, logged)
        caplog.clear()
        code, report = check(path, capsys)
        assert not caplog.records
        rank_zero_info("logged again")
        assert "logged again" in caplog.text
    assert code == 0, report
    notes = [line.removeprefix("note: ") for line in report.splitlines() if line.startswith("note: ")]
    assert [notes.count(message) for message in logged] == [1] * len(logged), (logged, notes)
    assert len(notes) == len(set(notes))


def test_a_link_that_a_run_leaves_out_is_no_picture_of_the_report(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(data, "SAMPLES", 0)
    _, report = check(pictures(tmp_path / "data"), capsys)
    assert row(report, "all ")[0] == "20"
    assert "occur twice" not in report
    assert "--data.eval_count 2 " in report
