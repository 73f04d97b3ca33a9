"""Tests of the command ``data check`` on good data: format, counts, drawing, copies, and the command it proposes."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_coordconv.core.survey import spread
from lightning_coordconv.detection import CocoDetectionDataModule
from lightning_coordconv.detection.survey import ON_A_CPU
from lightning_coordconv.generative import UnlabelledImagesDataModule
from lightning_coordconv.runtime import data, precision
from lightning_coordconv.runtime.shipped_configs import find
from tests.detection.formats import write_voc, write_yolo
from tests.runtime.data_folders import check, row, write_classes, write_coco, write_pairs, write_pictures


def write_apart(root: Path, files: dict[str, str]) -> Path:
    """Write images of 8 x 8 pixels, no two the same, and texts."""
    for number, (name, text) in enumerate(files.items()):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if text:
            (root / name).write_text(text)
        elif "images" in name:
            Image.new("RGB", (8, 8), (20 * number, 0, 0)).save(root / name)
        else:
            Image.new("L", (8, 8), number % 2).save(root / name)
    return root


def write_yolo_apart(root: Path) -> Path:
    images = {"train": ("0", "1"), "val": ("2", "3")}
    files = {f"images/{split}/{name}.png": "" for split, names in images.items() for name in names}
    labels = {name.replace("images", "labels").replace("png", "txt"): "0 0.5 0.5 0.5 0.5" for name in files}
    return write_apart(root, files | labels | {"data.yaml": "names: [a]\ntrain: images/train\nval: images/val"})


def write_masks_apart(root: Path) -> Path:
    parts = [(split, name) for split in ("train", "val") for name in ("0", "1")]
    return write_apart(
        root, {f"{split}/{kind}/{name}.png": "" for kind in ("images", "masks") for split, name in parts}
    )


def options(report: str) -> dict[str, str]:
    """Return the options of the command that a report ends with."""
    command = next(line for line in report.splitlines() if line.startswith("train with: ")).split(" --")
    return dict(option.split() for option in command[1:])


@pytest.mark.slow
def test_the_command_that_is_printed_trains_on_the_files_that_were_found(tmp_path, capsys):
    root = write_coco(tmp_path / "data")
    for split, folder, name in (("train", "train", "train.json"), ("val", ".", "annotations/instances_val2017.json")):
        (root / folder).mkdir(exist_ok=True)
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(root / "boxes.json", root / name)
        if split == "train":
            for file in root.glob("*.jpg"):
                shutil.copy(file, root / folder)
    (root / "boxes.json").unlink()
    code, report = check(root, capsys)
    assert code == 0
    assert "…" not in report
    given = {name.removeprefix("data."): value for name, value in options(report).items() if name.startswith("data.")}
    assert given["val_annotations"] == "annotations/instances_val2017.json"
    data = CocoDetectionDataModule(**given, num_workers=0)
    assert [len(data.dataset(split)) for split in ("train", "val")] == [3, 3]
    root = write_pictures(tmp_path / "pictures")
    given = options(check(root, capsys)[1])
    assert given["model.object_radius"] == "null"
    data = UnlabelledImagesDataModule(given["data.root"], eval_count=int(given["data.eval_count"]))
    assert len(data.dataset("train")) == 19


def test_the_note_without_a_gpu_names_overlays_of_the_documents():
    """One recipe for a CPU, in the note and on the page."""
    page = (Path(__file__).parents[2] / "docs" / "own_detector.md").read_text()
    overlays = re.findall(r"-c (\S+?),? ", ON_A_CPU)
    assert overlays == ["detection/ablations/small", "detection/ablations/from_scratch"]
    for overlay in overlays:
        assert find(overlay)
        assert f"fit -c detection/coco_coordconv -c {overlay} " in page


@pytest.mark.slow
def test_images_in_any_folder_beside_their_annotation_file_are_found(tmp_path, capsys):
    root = write_coco(tmp_path / "data")
    (root / "photos").mkdir()
    for file in root.glob("*.jpg"):
        file.rename(root / "photos" / file.name)
    assert options(check(root, capsys)[1])["data.train_images"] == "photos"
    shutil.rmtree(root / "photos")
    code, report = check(root, capsys)
    assert code == 1
    assert re.search(r"china.jpg, the first image of \S+, is neither in \S+ nor in a folder in it", report)
    assert "train with" not in report


@pytest.mark.slow
@pytest.mark.parametrize(("emulated", "gpu"), [(True, False), (False, False), (True, True)])
def test_the_command_is_in_single_precision_where_bfloat16_is_emulated(emulated, gpu, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(precision, "emulates_bfloat16", lambda: emulated)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    given = options(check(write_pictures(tmp_path / "pictures"), capsys)[1])
    assert given.get("trainer.precision") == ("32-true" if emulated and not gpu else None)


@pytest.mark.slow
def test_the_command_for_one_annotation_file_splits_its_images_by_chance(tmp_path, capsys):
    code, report = check(write_coco(tmp_path / "data"), capsys)
    assert code == 0
    given = {name.removeprefix("data."): value for name, value in options(report).items() if name.startswith("data.")}
    assert given.pop("val_annotations") == "null"
    data = CocoDetectionDataModule(**given, num_workers=0)
    assert sorted(data.dataset(split).images[0]["id"] for split in ("train", "val", "test")) == [10, 20, 30]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("images", "boxes", "message"),
    [
        (2, 2, "boxes.json has too few images, 2, to hold out 1 for validation"),
        (20, 1, "boxes.json has no box to detect in the 2 images of a split: no annotations"),
    ],
)
def test_a_split_by_chance_that_a_run_would_refuse_is_reported(tmp_path, capsys, images, boxes, message):
    entries = [{"id": n, "file_name": f"{n:02}.png", "width": 8, "height": 8} for n in range(images)]
    objects = [
        {"id": n, "image_id": n, "category_id": 1, "bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0} for n in range(boxes)
    ]
    for entry in entries:
        Image.new("RGB", (8, 8)).save(tmp_path / entry["file_name"])
    content = {"images": entries, "annotations": objects, "categories": [{"id": 1, "name": "a"}]}
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    code, report = check(tmp_path, capsys)
    assert code == 1
    assert message in report
    arguments = {"train_annotations": "boxes.json", "train_images": ".", "val_annotations": None, "val_images": "."}
    with pytest.raises(ValueError, match=re.escape(message)):
        [CocoDetectionDataModule(str(tmp_path), **arguments).dataset(split) for split in ("train", "val", "test")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("write", "kind", "rows"),
    [
        (write_coco, "COCO", {"boxes": ["3", "3", "6", "2", "to", "2"], "dahlia": ["2"], "hat": ["1"]}),
        (write_yolo, "YOLO", {"val": ["3", "3", "6", "2", "to", "2"], "dahlia": ["2", "2"], "hat": ["1", "1"]}),
        (write_voc, "Pascal VOC", {"train": ["3", "3", "6", "2", "to", "2"], "dahlia": ["2", "2"]}),
        (write_pairs, "images and masks", {"train": ["4"], "val": ["1"], "0": ["4", "1", "1"], "2": ["4", "1", "1"]}),
        (write_pictures, "pictures", {"all": ["23", "23", "30", "x", "20"]}),
        (write_classes, "image folders", {"train": ["7"], "val": ["5"], "cat": ["3", "2"], "dog": ["4", "3"]}),
    ],
)
def test_each_format_is_recognised_counted_and_drawn(tmp_path, capsys, write, kind, rows):
    code, report = check(write(tmp_path / "data"), capsys)
    assert code == 0, report
    assert report.startswith(f"{kind}: {tmp_path / 'data'}\n")
    for first, cells in rows.items():
        assert row(report, f"{first} ")[: len(cells)] == cells
    assert "refused" not in report
    drawn = int(re.search(r"(\d+) samples in", report)[1])
    picture = Image.open(tmp_path / "samples.png")
    across = min(4, drawn)
    assert picture.width == across * 492
    colours = np.asarray(picture.crop((0, 0, 480, picture.height))).reshape(-1, 3)
    assert len(np.unique(colours, axis=0)) > 2


@pytest.mark.slow
def test_few_samples_of_many_are_decoded(tmp_path, capsys):
    root = write_classes(tmp_path / "data")
    path = root / "train" / "cat" / "1.png"
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:2000])  # the header is whole
    assert check(root, capsys, "--images", "2")[0] == 0
    assert check(root, capsys)[0] == 1
    assert "not decoded" not in check(root, capsys)[1]
    assert check(root, capsys, "--images", "0") == (2, "error: images must be at least 1, got 0\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("write", "lines"),
    [
        (write_coco, ["boxes: 1 of 3 images were not decoded; --images 3 decodes all"]),
        (write_pictures, ["all: 21 of 23 images were not decoded; --images 23 decodes all"]),
        (
            write_classes,
            [
                "train: 5 of 7 images were not decoded; --images 7 decodes all",
                "val: 3 of 5 images were not decoded; --images 7 decodes all",
            ],
        ),
        (
            write_pairs,
            [
                "train: 2 of 4 images were not decoded; --images 4 decodes all",
                "sizes and classes are counted in the decoded images only",
            ],
        ),
    ],
)
def test_the_report_says_how_many_images_were_not_decoded(tmp_path, capsys, write, lines):
    report = check(write(tmp_path / "data"), capsys, "--images", "2")[1]
    assert [line for line in report.splitlines() if "decode" in line and "note" in line] == [
        f"note: {line}" for line in lines
    ]
    for options in ([], ["--images", re.search(r"--images (\d+)", report)[1]]):
        assert "not decoded" not in check(tmp_path / "data", capsys, *options)[1]


@pytest.mark.parametrize(("count", "limit"), [(0, 4), (3, 5), (9, 3), (10, 1), (1000, 7)])
def test_samples_are_evenly_spread(count, limit):
    numbers = spread(count, limit)
    assert len(numbers) == min(count, limit) == len(set(numbers))
    steps = np.diff(numbers)
    assert not len(steps) or (steps.min() >= 1 and steps.max() - steps.min() <= 1)
    assert limit == 1 or not numbers or (numbers[0] == 0 and numbers[-1] == count - 1)


def replace(source: str, target: str, root: Path) -> Path:
    shutil.copy(root / source, root / target)
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    ("write", "source", "target"),
    [
        pytest.param(write_classes, "train/cat/0.png", "val/dog/0.png", marks=pytest.mark.slow),
        (write_yolo_apart, "images/train/0.png", "images/val/2.png"),
        pytest.param(write_masks_apart, "train/images/0.png", "val/images/1.png", marks=pytest.mark.slow),
    ],
)
def test_a_copy_of_a_picture_in_another_split_is_named(write, source, target, tmp_path, capsys):
    root = write(tmp_path / "data")
    assert "in two splits" not in check(root, capsys)[1]
    _, report = check(replace(source, target, root), capsys)
    assert f"note: pictures in two splits with the same content (1): {source} = {target}" in report


@pytest.mark.slow
def test_annotation_files_of_one_split_share_their_images(tmp_path, capsys):
    root = write_coco(tmp_path / "data")
    (root / "annotations").mkdir()
    for kind in ("instances", "person"):
        shutil.copy(root / "boxes.json", root / "annotations" / f"{kind}_train.json")
    (root / "boxes.json").unlink()
    assert "two splits" not in check(root, capsys)[1]


def test_samples_are_drawn_outside_of_the_data_and_over_none_of_them(tmp_path, monkeypatch, capsys):
    root = write_pairs(tmp_path / "data")
    before = {path: path.read_bytes() for path in root.rglob("*.*")}
    image = sorted((root / "images").iterdir())[0]
    monkeypatch.chdir(root)
    for options in ([], ["--out", str(image)], ["--out", "images/new.png"]):
        with pytest.raises(ValueError, match="would become a picture of the data in"):
            data.main(["check", ".", *options])
    photographs = write_coco(tmp_path / "coco")
    with pytest.raises(ValueError, match="is read by this command, and would be replaced"):
        data.main(["check", str(photographs / "boxes.json"), "--out", str(photographs / "china.jpg")])
    assert {path: path.read_bytes() for path in root.rglob("*.*")} == before
