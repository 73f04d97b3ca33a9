"""Tests of the YOLO and Pascal VOC readers: the same samples as from COCO, splits, and errors for bad input."""

import contextlib
import json
import logging
import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from lightning_coordconv.core.splits import RandomSplit
from lightning_coordconv.detection import (
    CocoDetectionDataModule,
    VocDetectionDataModule,
    VocFolder,
    YoloDetectionDataModule,
)
from tests.detection.formats import write_voc, write_yolo
from tests.photographs import write_photographs


def yolo(folder: Path, **arguments: object) -> YoloDetectionDataModule:
    return YoloDetectionDataModule(str(folder), num_workers=0, **arguments)


def voc(folder: Path, **arguments: object) -> VocDetectionDataModule:
    return VocDetectionDataModule(str(folder), num_workers=0, **arguments)


def named(sample: dict, categories: dict) -> list[tuple[str, list[float]]]:
    names = [categories[label][1] for label in sample["labels"].tolist()]
    return list(zip(names, sample["boxes"].tolist(), strict=True))


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> CocoDetectionDataModule:
    folder = write_photographs(tmp_path_factory.mktemp("coco"))
    return CocoDetectionDataModule(
        str(folder), train_annotations="boxes.json", val_annotations="boxes.json", num_workers=0
    )


@pytest.mark.parametrize(("write", "build"), [(write_yolo, yolo), (write_voc, voc)])
def test_the_samples_are_those_of_coco_s_format(tmp_path, coco, write, build):
    data = build(write(tmp_path))
    for split in ("val", "test"):
        assert len(data.dataset(split)) == 3
        for index in range(3):
            got, want = data.dataset(split)[index], coco.dataset("val")[index]
            assert got.keys() == want.keys()
            assert Path(got["path"]).name == Path(want["path"]).name
            assert torch.equal(got["image"], want["image"])
            torch.testing.assert_close(got["area"], want["area"], rtol=1e-3, atol=0)
            pairs = zip(named(got, data.categories), named(want, coco.categories), strict=True)
            for (name, box), (true_name, true_box) in pairs:
                assert name == true_name
                assert box == pytest.approx(true_box, abs=1e-3)
    batch = next(iter(data.train_dataloader()))
    assert batch.keys() == data.sample_keys
    assert len(batch["image"]) == 3


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
    assert re.search(r"dropped 1 boxes without area in their image: \S+labels/val/china.txt line 2", caplog.text)
    with pytest.raises(ValueError, match=r"china.txt line 2 has the box .*, with no area inside an image of 160 x 107"):
        yolo(tmp_path, bad_boxes="error")


def test_missing_pairs_are_reported(tmp_path, caplog):
    write_yolo(tmp_path)
    (tmp_path / "labels" / "val" / "china.txt").rename(tmp_path / "labels" / "val" / "chine.txt")
    (tmp_path / "labels" / "val" / "classes.txt").write_text("pagoda\n")
    with caplog.at_level(logging.INFO):
        assert len(yolo(tmp_path).dataset("val")[0]["boxes"]) == 0
    assert "1 images without a file of labels count as images without objects: images/val/china.jpg" in caplog.text
    assert re.search(r"left out 1 files of labels that have no image: \S+labels/val/chine.txt$", caplog.text, re.M)


def test_two_images_of_one_name_do_not_share_annotations(tmp_path, caplog):
    """YOLO's labels say nothing of the ending, so they are refused; an XML file of VOC's names its image."""
    write_yolo(tmp_path / "yolo")
    twin = tmp_path / "yolo" / "images" / "val" / "china.png"
    shutil.copy(twin.with_suffix(".jpg"), twin)
    with pytest.raises(ValueError, match=r"china.jpg and .*china.png have the same name .* labels, .*china.txt"):
        yolo(tmp_path / "yolo")
    write_voc(tmp_path / "voc")
    twin = tmp_path / "voc" / "JPEGImages" / "china.png"
    Image.open(twin.with_suffix(".jpg")).save(twin)
    for named in ("china.jpg", "china.png"):
        path = tmp_path / "voc" / "Annotations" / "china.xml"
        path.write_text(re.sub("<filename>.*?</filename>", f"<filename>{named}</filename>", path.read_text()))
        with caplog.at_level(logging.INFO):
            samples = list(voc(tmp_path / "voc").dataset("train"))
        assert [Path(sample["path"]).name for sample in samples if "china" in sample["path"]] == [named]
        other = {"china.jpg", "china.png"} - {named}
        assert re.search(rf"left out 1 images without an XML file: \S+{other.pop()}$", caplog.text, re.M)
        caplog.clear()


def test_links_to_folders_are_followed(tmp_path):
    write_voc(tmp_path / "real", lists=False)
    for name in ("Annotations", "JPEGImages"):
        (tmp_path / "linked" / name).mkdir(parents=True)
        (tmp_path / "linked" / name / "sub").symlink_to(tmp_path / "real" / name)
    data = voc(tmp_path / "linked", links="anywhere")
    assert sum(len(data.dataset(split)) for split in ("train", "val", "test")) == 3


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


def test_an_image_that_is_listed_by_several_paths_counts_once(tmp_path):
    write_yolo(tmp_path)
    paths = ("./images/train/china.jpg", "images/val/../train/china.jpg", tmp_path / "images" / "train" / "china.jpg")
    (tmp_path / "train.txt").write_text("\n".join(map(str, paths)))
    content = (tmp_path / "data.yaml").read_text()
    (tmp_path / "data.yaml").write_text(re.sub(r"^train:.*$", "train: train.txt", content, flags=re.MULTILINE))
    assert len(yolo(tmp_path).dataset("train")) == 1


def test_folders_of_nothing_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected data.yaml, .*, but there is none"):
        yolo(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*Annotations"):
        voc(tmp_path)
    for name in ("Annotations", "JPEGImages"):
        (tmp_path / name).mkdir()
    with pytest.raises(FileNotFoundError, match=r"there are no XML files in .*Annotations"):
        voc(tmp_path)


def edit(folder: Path, old: str, new: str) -> Path:
    path = write_voc(folder) / "Annotations" / "china.xml"
    text = re.sub(old, new, path.read_text(), count=1)
    assert text != path.read_text()
    path.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<name>pagoda</name>", "", "china.xml object 1 has no name"),
        (r"<xmin>.*?</xmin>", "", "china.xml object 1 has no xmin"),
        (r"<xmin>.*?</xmin>", "<xmin>left</xmin>", "china.xml object 1 has the box 'left', "),
        ("<difficult>0", "<difficult>true", "china.xml object 1 has difficult 'true', but it must be 0 or 1"),
        ("</bndbox>", "</bndbox><bndbox><xmin>1</xmin></bndbox>", "china.xml object 1 has several entries bndbox"),
        ("<name>", "<name>tower</name><name>", "china.xml object 1 has several entries name"),
        ("<xmin>", "<xmin>3</xmin><xmin>", "china.xml object 1 has several entries bndbox/xmin"),
        (r"<xmin>.*?</xmin>", "<xmin>1_0</xmin>", "china.xml object 1 has the box '1_0', "),
        (r"(?s)<annotation>(.*)</annotation>", r"<html>\1</html>", "china.xml must be an <annotation> that holds each"),
        (r"(?s)(<object>.*</object>)", r"<objects>\1</objects>", "china.xml must be an <annotation> that holds each"),
        (
            "<annotation>",
            '<annotation xmlns="https://example.org">',
            "china.xml must be an <annotation> that holds each",
        ),
        ("</annotation>", "", "china.xml is no XML file: "),
        (r"<annotation>", '<?xml version="1.0" encoding="none"?><annotation>', "china.xml is no XML file: "),
    ],
)
def test_a_bad_xml_file_is_named_with_its_object(tmp_path, old, new, message):
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        voc(edit(tmp_path, old, new))
    assert str(refused.value).isprintable()


def test_inverted_boxes_are_dropped_or_refused_as_coco_s_are(tmp_path, caplog):
    edit(tmp_path, r"<xmin>.*?</xmin>", "<xmin>150</xmin>")
    with caplog.at_level(logging.INFO):
        assert len(voc(tmp_path).dataset("val")[0]["boxes"]) == 1
    assert re.search(r"dropped 1 boxes without area in their image: \S+china.xml object 1", caplog.text)
    with pytest.raises(ValueError, match=r"china.xml object 1 has the box \[149.0, .*\], with no area inside an image"):
        voc(tmp_path, bad_boxes="error")


def test_xml_files_without_an_object_are_counted(tmp_path, caplog):
    edit(tmp_path, r"(?s)<object>.*</object>", "")
    with caplog.at_level(logging.INFO), contextlib.suppress(ValueError):  # refused if no box is left
        voc(tmp_path).dataset("val")
    assert "1 images have no object in their XML file: JPEGImages/china.jpg" in caplog.text


def test_images_of_training_and_validation_are_counted(tmp_path, caplog):
    write_yolo(tmp_path)
    content = (tmp_path / "data.yaml").read_text()
    (tmp_path / "data.yaml").write_text(re.sub(r"^train:.*$", "train: images", content, flags=re.MULTILINE))
    with caplog.at_level(logging.INFO):
        yolo(tmp_path).dataset("train")
    reported = "data of the train split: 3 images are in the validation split too: images/val/china.jpg, images/val/fl"
    assert reported in caplog.text


def test_a_size_of_zero_is_read_from_the_image_and_a_wrong_one_is_refused(tmp_path):
    edit(tmp_path, r"<width>\d+</width>", "<width>0</width>")
    assert voc(tmp_path).dataset("val")[0]["image"].shape == (3, 107, 160)
    path = tmp_path / "Annotations" / "china.xml"
    path.write_text(path.read_text().replace("<width>0</width>", "<width>99</width>"))
    with pytest.raises(ValueError, match=r"china.jpg has 160 x 107 pixels .*, but 99 x 107 as image 1 of"):
        voc(tmp_path).dataset("val")[0]


def test_difficult_objects_are_for_evaluation_as_crowds_are(tmp_path):
    data = voc(edit(tmp_path, "<difficult>0", "<difficult>1"))
    assert data.dataset("val")[0]["iscrowd"].tolist() == [1, 0]
    assert len(data.dataset("train")[0]["boxes"]) == 1


def test_without_lists_the_split_is_made_by_chance_and_complete(tmp_path):
    write_voc(tmp_path, lists=False)
    splits = VocFolder(tmp_path, RandomSplit(3)).splits
    assert sorted([*splits["train"], *splits["val"], *splits["test"]]) == ["china", "flower", "hopper"]
    assert splits == VocFolder(tmp_path, RandomSplit(3)).splits
    assert any(splits != VocFolder(tmp_path, RandomSplit(seed)).splits for seed in range(4))


def test_names_with_spaces_are_whole_in_lists(tmp_path):
    """Browsers name a second download ``photo (1)``; lists of one class have a number after the name."""
    write_voc(tmp_path)
    for folder, suffix in (("Annotations", "xml"), ("JPEGImages", "jpg")):
        (tmp_path / folder / f"china.{suffix}").rename(tmp_path / folder / f"hopper (1).{suffix}")
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("flower\n")
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("hopper (1)\nhopper (1) -1\nhopper  1\nflower.xml\n")
    splits = VocFolder(tmp_path, RandomSplit()).splits
    assert splits["train"] == ["hopper (1)", "hopper", "flower"]
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("hopper (2)\n")
    with pytest.raises(
        FileNotFoundError, match=r"train.txt line 1 names hopper \(2\), but there is no hopper \(2\).xml"
    ):
        VocFolder(tmp_path, RandomSplit())


def test_lists_and_pairs_that_do_not_agree(tmp_path, caplog):
    write_voc(tmp_path)
    (tmp_path / "Annotations" / "china.xml").rename(tmp_path / "Annotations" / "chine.xml")
    with pytest.raises(FileNotFoundError, match=r"train.txt line 1 names china, but there is no china.xml in"):
        voc(tmp_path)
    (tmp_path / "Annotations" / "chine.xml").unlink()
    for split in ("train", "val"):
        (tmp_path / "ImageSets" / "Main" / f"{split}.txt").write_text("hopper 1\nflower -1\n")
    with caplog.at_level(logging.INFO):
        assert len(voc(tmp_path).dataset("train")) == 2
    assert re.search(r"left out 1 images without an XML file: \S+china.jpg", caplog.text)


def voc_remarks(root: Path, split: str = "train") -> list[str]:
    return list(VocFolder(root).read(split).remarks)


@pytest.mark.parametrize("names", [["trainval"], ["default"], ["cat_train", "cat_val"]])
def test_voc_lists_of_other_names_are_named_where_chance_splits(names, tmp_path):
    write_voc(tmp_path, lists=False)
    for name in names:
        (tmp_path / "ImageSets" / "Main" / f"{name}.txt").write_text("china\n")
    files = ", ".join(f"{name}.txt" for name in names)
    line = f"split by chance, not by {len(names)} lists in ImageSets/Main of other names: {files}"
    assert line in voc_remarks(tmp_path)
    for split in ("train", "val"):
        (tmp_path / "ImageSets" / "Main" / f"{split}.txt").write_text("china\n")
    assert not any("chance" in line for line in voc_remarks(tmp_path))


@pytest.mark.parametrize(("edge", "named"), [("0", True), ("0.5", True), ("1", False)])
def test_voc_boxes_that_begin_at_0_are_named(edge, named, tmp_path):
    write_voc(tmp_path)
    file = tmp_path / "Annotations" / "china.xml"
    file.write_text(re.sub(r"<xmin>[^<]*", f"<xmin>{edge}", file.read_text()))
    assert any("begin at 0, but VOC counts pixels from 1" in line for line in voc_remarks(tmp_path)) == named


@pytest.mark.parametrize(
    ("filename", "named"), [("flower.jpg", 1), ("pictures/flower.jpg", 1), ("gone.jpg", 0), ("", 0)]
)
def test_a_voc_file_that_names_another_image_is_named(filename, named, tmp_path):
    write_voc(tmp_path)
    file = tmp_path / "Annotations" / "china.xml"
    file.write_text(file.read_text().replace("china.jpg", filename))
    line = f"1 XML files name another image than the one that has their name, which is used: {file}"
    assert voc_remarks(tmp_path).count(line) == named
    images = VocFolder(tmp_path).read("train").content["images"]
    assert "JPEGImages/china.jpg" in [image["file_name"] for image in images]
