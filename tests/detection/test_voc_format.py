"""Tests of the Pascal VOC reader: bad XML files, inverted boxes, sizes, splits, and difficult objects."""

import contextlib
import logging
import re
from pathlib import Path

import pytest

from lightning_coordconv.core.splits import RandomSplit
from lightning_coordconv.detection import (
    VocFolder,
)
from tests.detection.formats import voc, write_voc


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
    assert re.search(r"dropped boxes without area in their image \(1\): \S+china.xml object 1", caplog.text)
    with pytest.raises(ValueError, match=r"china.xml object 1 has the box \[149.0, .*\], with no area inside an image"):
        voc(tmp_path, bad_boxes="error")


def test_xml_files_without_an_object_are_counted(tmp_path, caplog):
    edit(tmp_path, r"(?s)<object>.*</object>", "")
    with caplog.at_level(logging.INFO), contextlib.suppress(ValueError):  # refused if no box is left
        voc(tmp_path).dataset("val")
    assert "images without an object in their XML file (1): JPEGImages/china.jpg" in caplog.text


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
    assert re.search(r"left out images without an XML file \(1\): \S+china.jpg", caplog.text)


def voc_remarks(root: Path, split: str = "train") -> list[str]:
    return list(VocFolder(root).read(split).remarks)


@pytest.mark.parametrize("names", [["trainval"], ["default"], ["cat_train", "cat_val"]])
def test_voc_lists_of_other_names_are_named_where_chance_splits(names, tmp_path):
    write_voc(tmp_path, lists=False)
    for name in names:
        (tmp_path / "ImageSets" / "Main" / f"{name}.txt").write_text("china\n")
    files = ", ".join(f"{name}.txt" for name in names)
    line = f"split by chance, not by the lists of other names in ImageSets/Main ({len(names)}): {files}"
    assert line in voc_remarks(tmp_path)
    for split in ("train", "val"):
        (tmp_path / "ImageSets" / "Main" / f"{split}.txt").write_text("china\n")
    assert not any("chance" in line for line in voc_remarks(tmp_path))


@pytest.mark.parametrize(("edge", "named"), [("0", True), ("0.5", True), ("1", False)])
def test_voc_boxes_that_begin_at_0_are_named(edge, named, tmp_path):
    write_voc(tmp_path)
    file = tmp_path / "Annotations" / "china.xml"
    file.write_text(re.sub(r"<xmin>[^<]*", f"<xmin>{edge}", file.read_text()))
    assert any("begin at 0, while VOC counts pixels from 1" in line for line in voc_remarks(tmp_path)) == named


@pytest.mark.parametrize(
    ("filename", "named"), [("flower.jpg", 1), ("pictures/flower.jpg", 1), ("gone.jpg", 0), ("", 0)]
)
def test_a_voc_file_that_names_another_image_is_named(filename, named, tmp_path):
    write_voc(tmp_path)
    file = tmp_path / "Annotations" / "china.xml"
    file.write_text(file.read_text().replace("china.jpg", filename))
    line = f"XML files that name another image than the one of their name, which is used (1): {file}"
    assert voc_remarks(tmp_path).count(line) == named
    images = VocFolder(tmp_path).read("train").content["images"]
    assert "JPEGImages/china.jpg" in [image["file_name"] for image in images]
