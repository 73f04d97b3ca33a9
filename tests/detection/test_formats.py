"""Tests of the YOLO and Pascal VOC readers: the same samples as from COCO files, equal names, links, missing files."""

import json
import logging
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from lightning_coordconv.detection import (
    CocoDetectionDataModule,
)
from tests.detection.formats import named, voc, write_voc, write_yolo, yolo
from tests.photographs import write_photographs


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
    for name in ("china.jpg", "china.png"):
        path = tmp_path / "voc" / "Annotations" / "china.xml"
        path.write_text(re.sub("<filename>.*?</filename>", f"<filename>{name}</filename>", path.read_text()))
        with caplog.at_level(logging.INFO):
            samples = list(voc(tmp_path / "voc").dataset("train"))
        assert [Path(sample["path"]).name for sample in samples if "china" in sample["path"]] == [name]
        other = {"china.jpg", "china.png"} - {name}
        assert re.search(rf"left out images without an XML file \(1\): \S+{other.pop()}$", caplog.text, re.M)
        caplog.clear()


def test_links_to_folders_are_followed(tmp_path):
    write_voc(tmp_path / "real", lists=False)
    for name in ("Annotations", "JPEGImages"):
        (tmp_path / "linked" / name).mkdir(parents=True)
        (tmp_path / "linked" / name / "sub").symlink_to(tmp_path / "real" / name)
    data = voc(tmp_path / "linked", links="anywhere")
    assert sum(len(data.dataset(split)) for split in ("train", "val", "test")) == 3


def test_folders_of_nothing_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected data.yaml, .*, but there is none"):
        yolo(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*Annotations"):
        voc(tmp_path)
    for name in ("Annotations", "JPEGImages"):
        (tmp_path / name).mkdir()
    with pytest.raises(FileNotFoundError, match=r"there are no XML files in .*Annotations"):
        voc(tmp_path)


def test_images_of_training_and_validation_are_counted(tmp_path, caplog):
    write_yolo(tmp_path)
    content = (tmp_path / "data.yaml").read_text()
    (tmp_path / "data.yaml").write_text(re.sub(r"^train:.*$", "train: images", content, flags=re.MULTILINE))
    with caplog.at_level(logging.INFO):
        yolo(tmp_path).dataset("train")
    reported = (
        f"data of the train split: images that are in the validation split too (3): {tmp_path}/images/val/china.jpg, "
    )
    assert reported in caplog.text


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_images_of_training_and_validation_are_counted_behind_links(tmp_path, caplog, link):
    root = write_photographs(tmp_path)
    (root / "val").mkdir()
    for image in json.loads((root / "boxes.json").read_text())["images"]:
        link(root / image["file_name"], root / "val" / image["file_name"])
    data = CocoDetectionDataModule(str(root), "boxes.json", "boxes.json", val_images="val", num_workers=0)
    with caplog.at_level(logging.INFO):
        data.dataset("train")
    assert "data of the train split: images that are in the validation split too (3): " in caplog.text
