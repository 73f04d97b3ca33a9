"""Tests of the command ``data check`` for every format: its report, exit code, faults, and proposed command."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightning_coordconv.core.survey import spread
from lightning_coordconv.detection import CocoDetectionDataModule, VocDetectionDataModule, YoloDetectionDataModule
from lightning_coordconv.detection.survey import ON_A_CPU
from lightning_coordconv.generative import UnlabelledImagesDataModule
from lightning_coordconv.runtime.cli import main
from lightning_coordconv.runtime.shipped_configs import find
from tests.detection.formats import write_voc, write_yolo
from tests.photographs import write_photographs
from tests.segmentation.masks import write_masks


def check(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    """Run the command; return its exit code, and its report or its one line."""
    with pytest.raises(SystemExit) as exited:
        main(["data", "check", str(path), "--out", str(path.parent / "samples.png"), *options])
    out, err = capsys.readouterr()
    return int(exited.value.code), out or err


def row(report: str, first: str) -> list[str]:
    return next(line for line in report.splitlines() if line.startswith(first)).split()[1:]


def write_classes(root: Path) -> Path:
    for split, count in (("train", 3), ("val", 2)):
        for label, name in enumerate(("cat", "dog")):
            (root / split / name).mkdir(parents=True)
            for number in range(count + label):
                Image.new("RGB", (20 + number, 20), (100 * label, 50, count)).save(
                    root / split / name / f"{number}.png"
                )
    return root


def write_coco(root: Path) -> Path:
    root.mkdir()
    return write_photographs(root)


def write_pairs(root: Path) -> Path:
    root.mkdir()
    return write_masks(root, copies=2)


def write_pictures(root: Path) -> Path:
    (root / "more").mkdir(parents=True)
    write_photographs(root)
    (root / "boxes.json").unlink()
    for number in range(20):
        Image.new("RGB", (30, 20), (10 * number, 50, 0)).save(root / "more" / f"{number}.png")
    return root


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
def test_the_command_for_one_annotation_file_splits_its_images_by_chance(tmp_path, capsys):
    code, report = check(write_coco(tmp_path / "data"), capsys)
    assert code == 0
    given = {name.removeprefix("data."): value for name, value in options(report).items() if name.startswith("data.")}
    assert given.pop("val_annotations") == "null"
    data = CocoDetectionDataModule(**given, num_workers=0)
    assert sorted(data.dataset(split).images[0]["id"] for split in ("train", "val", "test")) == [10, 20, 30]


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
        r"'\[masks\]' would refuse 2 entries, the first: \S+: annotation 3 has the segmentation \[\]", report
    )
    assert re.search(r"'\[keypoints\]' would refuse 1 entries, the first: \S+: category 7 .* has no keypoints", report)


@pytest.mark.slow
def test_what_a_run_leaves_out_is_no_error(tmp_path, capsys):
    root = write_voc(tmp_path / "data")
    path = root / "Annotations" / "china.xml"
    path.write_text(re.sub(r"<xmin>.*?</xmin>", "<xmin>150</xmin>", path.read_text(), count=1))
    code, report = check(root, capsys)
    assert code == 0
    assert re.search(r"note: train: dropped boxes without area in their image \(1\): \S+china.xml object 1\n", report)
    VocDetectionDataModule(str(root), num_workers=0).dataset("train")


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
    assert "note: all pixels have class 0, or 255, which means no class: a run needs at least 2 classes" in report
    assert "train with" not in report


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
def test_classes_of_one_split_only_and_files_that_are_no_images(tmp_path, capsys):
    root = write_classes(tmp_path / "data")
    (root / "train" / "dog" / "notes.txt").write_text("a dog")
    code, report = check(root, capsys)
    assert code == 0
    assert "note: train: dropped files that are no images of a class (1): dog/notes.txt" in report
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


@pytest.mark.slow
def test_few_samples_of_many_are_decoded(tmp_path, capsys):
    root = write_classes(tmp_path / "data")
    path = root / "train" / "cat" / "1.png"
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:2000])  # the header is whole
    assert check(root, capsys, "--images", "2")[0] == 0
    assert check(root, capsys)[0] == 1
    assert check(root, capsys, "--images", "0") == (2, "error: images must be at least 1, got 0\n")


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
