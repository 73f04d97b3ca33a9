"""Tests that a run and ``data check`` say what of image files is not read, of data of each format."""

import logging

import pytest

from lightning_coordconv.detection import CocoDetectionDataModule
from lightning_coordconv.runtime import data
from lightning_coordconv.segmentation import MaskFolderDataModule
from tests.partly_read import ALPHA, PARTLY_READ
from tests.runtime.data_folders import check
from tests.runtime.test_data_remarks import FORMATS, coco, masks


@pytest.mark.parametrize("kind", PARTLY_READ)
@pytest.mark.parametrize("name", FORMATS)
def test_what_is_not_read_of_images_is_said_by_a_run_and_by_the_report(
    name, kind, tmp_path, caplog, capsys, monkeypatch
):
    write, make, _ = FORMATS[name]
    path = write(tmp_path / "data")
    contents = list(PARTLY_READ[kind].values())
    images = [image for image in tmp_path.rglob("*.png") if not {"masks", "run"} & set(image.parts)]
    for number, image in enumerate(image for image in images if not image.is_symlink()):
        image.write_bytes(contents[number % len(contents)]())  # Pillow goes by the content, not by the ending
    monkeypatch.setattr(data, "SAMPLES", 0)  # draws none
    with caplog.at_level(logging.INFO):
        module = make(path)
        for split in ("train", "val"):
            module.dataset(split)
    said = {line.partition(kind)[2] for line in caplog.messages if f"{kind} (" in line}
    assert said
    code, report = check(path, capsys)
    assert code == 0, report
    notes = {line.partition(kind)[2] for line in report.splitlines() if line.startswith("note: ") and kind in line}
    assert notes == said


def test_what_is_not_read_of_images_to_make_predictions_for_is_said(tmp_path, caplog):
    new = tmp_path / "new"
    new.mkdir()
    (new / "a.png").write_bytes(PARTLY_READ[ALPHA]["LA.png"]())
    files = {"train_images": "train", "val_images": "val", "predict_images": str(new)}
    modules = [
        CocoDetectionDataModule(str(coco(tmp_path / "coco")), "train.json", "val.json", **files),
        MaskFolderDataModule(str(masks(tmp_path / "masks")), 2, predict_images=str(new)),
    ]
    for module in modules:
        caplog.clear()
        with caplog.at_level(logging.INFO):
            module.dataset("predict")
        assert f"{ALPHA} (1): {new / 'a.png'}; it is left out" in caplog.text
