"""Tests of what ``data check`` refuses, counts and notes: bad lines and files, classes, masks, and no data."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightning_coordconv.detection import CocoDetectionDataModule, VocDetectionDataModule, YoloDetectionDataModule
from tests.detection.formats import write_voc, write_yolo
from tests.runtime.data_folders import check, row, write_classes, write_coco, write_pairs


@pytest.mark.slow
def test_all_bad_lines_are_counted_and_five_are_named(tmp_path, capsys):
    root = write_yolo(tmp_path / "data")
    (root / "labels" / "val" / "china.txt").write_text(
        "0 0.5 0.5 0.2 0.2\n" + "0 5 5 2 2\n" * 7 + "9 0.5 0.5 0.1 0.1\n"
    )
    for name in ("flower.jpg", "hopper.jpg"):
        (root / "images" / "train" / name).write_bytes(b"no image")
    code, report = check(root, capsys)
    assert code == 1
    assert "refused: lines that are not in YOLO's format (7)\n" in report
    assert re.findall(r"china.txt line (\d) has the value 5, but", report) == ["2", "3", "4", "5", "6"]
    assert "\n  and 2 more\n" in report
    assert "refused: annotations of unknown classes (1)\n" in report
    assert "refused: files that cannot be read (2)\n" in report
    assert row(report, "train ")[0] == "1"  # of which the size is known
    with pytest.raises(ValueError, match=r"china.txt line 2 has the value 5"):
        YoloDetectionDataModule(str(root))


@pytest.mark.slow
def test_all_bad_entries_of_coco_s_format_are_counted(tmp_path, capsys):
    root = write_coco(tmp_path / "data")
    content = json.loads((root / "boxes.json").read_text())
    content["annotations"][0]["bbox"] = "left"
    content["annotations"][1]["image_id"] = 999
    content["annotations"][2]["category_id"] = 999
    content["annotations"][3]["bbox"] = [5, 5, 0, 5]
    content["images"].append(content["images"][0])
    (root / "boxes.json").write_text(json.dumps(content))
    code, report = check(root, capsys)
    assert code == 1
    for kind in ("annotations that are not in COCO's format", "annotations of unknown images"):
        assert f"refused: {kind} (1)\n" in report
    for kind in ("annotations of unknown classes", "images that are not in COCO's format"):
        assert f"refused: {kind} (1)\n" in report
    assert "note: boxes: dropped boxes without area in their image (1), by id 4\n" in report
    with pytest.raises(ValueError, match=r"boxes.json"):
        CocoDetectionDataModule(str(root), train_annotations="boxes.json", val_annotations="boxes.json")


@pytest.mark.slow
def test_masks_and_keypoints_that_a_run_would_refuse_are_counted(tmp_path, capsys):
    """A run of boxes takes the data: the exit code is 0."""
    root = write_coco(tmp_path / "data")
    code, report = check(root, capsys)
    assert code == 0
    for target in ("masks", "keypoints"):
        assert f"note: boxes: a run with --data.targets '[{target}]' can read the {target}\n" in report
    content = json.loads((root / "boxes.json").read_text())
    content["annotations"][2]["segmentation"] = []
    del content["annotations"][3]["segmentation"]
    del content["categories"][1]["keypoints"]
    (root / "boxes.json").write_text(json.dumps(content))
    code, report = check(root, capsys)
    assert code == 0
    assert re.search(
        r"'\[masks\]' would refuse entries \(2\), the first: \S+: annotation 3 has the segmentation \[\]", report
    )
    assert re.search(
        r"'\[keypoints\]' would refuse entries \(1\), the first: \S+: category 7 .* has no keypoints", report
    )


@pytest.mark.slow
def test_what_a_run_leaves_out_is_no_error(tmp_path, capsys):
    root = write_voc(tmp_path / "data")
    path = root / "Annotations" / "china.xml"
    path.write_text(re.sub(r"<xmin>.*?</xmin>", "<xmin>150</xmin>", path.read_text(), count=1))
    code, report = check(root, capsys)
    assert code == 0
    assert re.search(r"note: train: dropped boxes without area in their image \(1\): \S+china.xml object 1\n", report)
    VocDetectionDataModule(str(root), num_workers=0).dataset("train")


@pytest.mark.slow
def test_masks_without_a_pixel_are_named_where_masks_are_read(tmp_path, capsys):
    root = write_coco(tmp_path / "data")
    content = json.loads((root / "boxes.json").read_text())
    sizes = {image["id"]: [image["height"], image["width"]] for image in content["images"]}
    size = sizes[content["annotations"][2]["image_id"]]
    content["annotations"][2]["segmentation"] = {"size": size, "counts": [size[0] * size[1]]}
    (root / "boxes.json").write_text(json.dumps(content))
    code, report = check(root, capsys)
    assert code == 0
    identity = content["annotations"][2]["id"]
    dropped = f"dropped objects whose mask has no pixel in their image (1), by id {identity}\n"
    assert f"note: boxes: with --data.targets '[masks]': {dropped}" in report
    assert report.count("dropped") == 1


@pytest.mark.slow
def test_masks_of_one_class_are_named_and_no_run_is_proposed(tmp_path, capsys):
    root = write_pairs(tmp_path / "data")
    for path in (root / "masks").iterdir():
        Image.fromarray(np.asarray(Image.open(path)) * np.uint8(0)).save(path)
    _, report = check(root, capsys)
    assert re.search(r"note: 4 of 4 masks in \S+masks were looked at, which have only the class 0: ", report)
    assert "note: a run needs masks of at least 2 classes, so no command is proposed" in report
    assert "train with" not in report


@pytest.mark.slow
def test_classes_of_masks_are_in_their_order_and_absent_ones_are_named(tmp_path, capsys):
    for number, (split, classes) in enumerate({"train": (0, 2), "val": (0, 1), "test": (0, 2)}.items()):
        for kind, values in (("images", np.full((8, 8, 3), 50 * number)), ("masks", np.resize(classes, (8, 8)))):
            (tmp_path / split / kind).mkdir(parents=True)
            Image.fromarray(values.astype(np.uint8)).save(tmp_path / split / kind / "a.png")
    code, report = check(tmp_path, capsys)
    assert code == 0
    assert re.findall(r"^(\d)  +(\d) +(\d) +(\d)$", report, re.MULTILINE) == [
        ("0", "1", "1", "1"), ("1", "0", "1", "0"), ("2", "1", "0", "1"),
    ]  # fmt: skip
    for split, absent in (("train", 1), ("val", 2), ("test", 1)):
        assert f"note: {split} has no example of the class {absent}, which other splits have" in report


@pytest.mark.slow
def test_masks_without_pairs_and_of_other_sizes_are_named(tmp_path, capsys):
    root = write_pairs(tmp_path / "data")
    (root / "masks" / "0_china.png").unlink()
    Image.new("L", (9, 9)).save(root / "masks" / "0_flower.png")
    mask = np.array(Image.open(root / "masks" / "0_hopper.png"))
    Image.fromarray(np.where(mask == 2, 7, mask)).save(root / "masks" / "0_hopper.png")
    code, report = check(root, capsys)
    assert code == 1
    assert re.search(r"refused: images without a mask that can be used \(1\)\n  \S+0_china.png has no mask", report)
    assert re.search(r"refused: samples that contradict themselves \(1\)\n  \S+0_flower.png has size", report)
    assert "no mask has the classes 3, 4, 5, 6, but some have 7" in report
    assert "--data.num_classes 8" in report


@pytest.mark.slow
def test_a_table_beside_pictures_is_named(tmp_path, capsys):
    root = write_classes(tmp_path / "data")
    (root / "points.csv").write_text("image,x,y\n")
    _, report = check(root, capsys)
    assert "points.csv is not read with the folder; if it holds points, check it by its path" in report


@pytest.mark.slow
def test_classes_of_one_split_only_and_files_that_are_no_images(tmp_path, capsys):
    root = write_classes(tmp_path / "data")
    (root / "train" / "dog" / "notes.txt").write_text("a dog")
    code, report = check(root, capsys)
    assert code == 0
    assert f"note: Unused: files in {root}/train that are no images of a class (1): dog/notes.txt." in report
    shutil.copytree(root / "train" / "dog", root / "train" / "wolf")
    (root / "val" / "cat" / "0.png").write_bytes(b"")
    code, report = check(root, capsys)
    assert code == 1
    assert "must have the same classes, but these are in only one of them: wolf" in report
    assert re.search(r"refused: files that cannot be read \(1\)\n  \S+0.png cannot be read", report)


@pytest.mark.slow
def test_class_folders_whose_names_differ_in_case_are_named(tmp_path, capsys):
    root = write_classes(tmp_path / "data")
    for split in ("train", "val"):
        shutil.copytree(root / split / "dog", root / split / "Dog")
    assert "note: the classes 'Dog', 'dog' differ only in case or spaces: are they one?" in check(root, capsys)[1]


def mixed(folder: Path) -> None:
    write_yolo(folder)
    shutil.copytree(write_voc(folder.parent / "voc"), folder, dirs_exist_ok=True)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda folder: None, "there is no file or folder"),
        (Path.mkdir, "holds no data in a known format: expected"),
        (mixed, "holds data of several formats, YOLO and Pascal VOC"),
        (lambda folder: folder.write_text("hello"), "holds no data in a known format"),
    ],
)
def test_what_is_no_data_is_refused_in_one_line(tmp_path, capsys, write, message):
    write(tmp_path / "data")
    code, line = check(tmp_path / "data", capsys)
    assert code == 2
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    assert message in line
    assert not (tmp_path / "samples.png").exists()


def test_files_that_are_broken_as_a_whole_are_reported(tmp_path, capsys):
    for name in ("boxes.json", "data.yaml"):
        folder = tmp_path / name.replace(".", "_")
        folder.mkdir()
        (folder / name).write_text('{"images": [')
        code, report = check(folder, capsys)
        assert code == 1
        assert re.search(rf"refused: .* \(1\)\n  \S+{name} is no (JSON|YAML) file", report)
