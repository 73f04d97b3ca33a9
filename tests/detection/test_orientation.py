"""Tests of whether boxes are on stored or on turned images: what annotated sizes prove, and what is said if nothing."""

import json
import logging
import os
from pathlib import Path

import pytest
import torch
from PIL import ExifTags, Image

from lightning_coordconv.core.images import read_rgb
from lightning_coordconv.detection import CocoDetection, CocoDetectionDataModule
from tests.detection.annotations import annotation
from tests.detection.formats import NAMES, voc, xml
from tests.photographs import noise

STORED, TURNED = (40, 30), (30, 40)
ASSUMED = "images that EXIF turns, of which no annotated size says whether boxes are on the turned image"


def save(folder: Path, name: str, orientation: int, size: tuple[int, int] = STORED) -> Path:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    noise(size, seed=len(name)).convert("RGB").save(folder / name, exif=exif)
    return folder / name


def coco(folder: Path, *images: tuple[int, tuple[int, int]], size: tuple[int, int] = STORED) -> Path:
    """Write images ``0.png``, ... of the given orientations, with the annotated sizes, each with a box."""
    entries = []
    for number, (orientation, annotated) in enumerate(images):
        save(folder, f"{number}.png", orientation, size)
        entries.append({"id": number, "file_name": f"{number}.png", "width": annotated[0], "height": annotated[1]})
    boxes = [annotation(number, [2, 3, 10, 8], image_id=number) for number in range(len(images))]
    content = {"images": entries, "annotations": boxes, "categories": [{"id": 7, "name": "cat"}]}
    (folder / "boxes.json").write_text(json.dumps(content))
    return folder / "boxes.json"


def turned(data: CocoDetection, index: int) -> bool:
    """Tell whether a sample is the image as a viewer shows it, and not as it is stored."""
    sample = data[index]
    shown, stored = (
        torch.tensor(list(read_rgb(sample["path"], upright=upright).tobytes()), dtype=torch.uint8)
        for upright in (True, False)
    )
    found = (sample["image"] * 255).round().to(torch.uint8).permute(1, 2, 0).flatten()
    assert torch.equal(found, shown) != torch.equal(found, stored)
    return torch.equal(found, shown)


@pytest.mark.parametrize("side", [5, 6, 7, 8])
@pytest.mark.parametrize("kept", [2, 3, 4])
@pytest.mark.parametrize(("size", "expected"), [(TURNED, True), (STORED, False)])
def test_images_of_which_exif_keeps_the_size_follow_those_of_which_it_does_not(tmp_path, side, kept, size, expected):
    data = CocoDetection(tmp_path, coco(tmp_path, (1, STORED), (kept, STORED), (side, size)))
    assert [turned(data, index) for index in (1, 2)] == [expected] * 2
    assert not any("EXIF" in line for line in data.remarks())


def test_square_images_follow_too(tmp_path):
    path = coco(tmp_path, (6, (30, 30)), (6, TURNED))
    save(tmp_path, "0.png", 6, (30, 30))
    assert turned(CocoDetection(tmp_path, path), 0)


@pytest.mark.parametrize(("orientation", "size"), [(2, STORED), (3, STORED), (4, STORED), (6, (30, 30))])
def test_without_a_proof_boxes_are_on_stored_pixels_and_a_line_says_so(tmp_path, orientation, size):
    data = CocoDetection(tmp_path, coco(tmp_path, (orientation, size), (1, size), size=size))
    assert not turned(data, 0)
    (line,) = [line for line in data.remarks() if "EXIF" in line]
    assert line == f"{ASSUMED} (1): {tmp_path}/0.png; boxes are taken to be on the stored pixels"


def test_where_sizes_contradict_each_other_each_image_follows_its_size(tmp_path):
    data = CocoDetection(tmp_path, coco(tmp_path, (6, TURNED), (8, STORED), (6, TURNED), (3, STORED)))
    assert [turned(data, index) for index in range(4)] == [True, False, True, False]
    (line,) = [line for line in data.remarks() if "EXIF" in line]
    assert f"orientation in some files (2): {tmp_path}/0.png and 1 more, and on stored pixels in others (1): " in line


def test_one_turned_image_of_many_is_found_wherever_it_is(tmp_path):
    coco(tmp_path, *[(1, STORED)] * 3)
    content = json.loads((tmp_path / "boxes.json").read_text())
    for number in range(3, 2100):
        os.link(tmp_path / "0.png", tmp_path / f"{number}.png")
        content["images"].append(content["images"][0] | {"id": number, "file_name": f"{number}.png"})
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    for number in (1, 1050, 2098):
        (tmp_path / f"{number}.png").unlink()
        save(tmp_path, f"{number}.png", 3)
    (line,) = [line for line in CocoDetection(tmp_path, tmp_path / "boxes.json").remarks() if "EXIF" in line]
    named = ", ".join(f"{tmp_path}/{number}.png" for number in (1, 1050, 2098))
    assert line == f"{ASSUMED} (3): {named}; boxes are taken to be on the stored pixels"


def test_the_whole_file_decides_where_chance_splits_it(tmp_path):
    coco(tmp_path, (6, TURNED), *[(3, STORED)] * 11)
    data = CocoDetectionDataModule(str(tmp_path), "boxes.json", train_transforms=[], num_workers=0)
    for dataset in map(data.dataset, ("train", "val", "test")):
        assert all(turned(dataset, index) for index in range(len(dataset)))


def test_a_run_logs_what_is_assumed(tmp_path, caplog):
    coco(tmp_path, (3, STORED))
    with caplog.at_level(logging.INFO):
        CocoDetectionDataModule(str(tmp_path), "boxes.json", "boxes.json", num_workers=0)
    assert f"data of the val split: {ASSUMED} (1): {tmp_path}/0.png; boxes are taken" in caplog.text


def test_files_that_cannot_be_read_prove_nothing(tmp_path):
    path = coco(tmp_path, (6, STORED), (6, TURNED), (3, STORED))
    (tmp_path / "0.png").write_bytes(b"no image")
    assert turned(CocoDetection(tmp_path, path), 2)


def write_voc(root: Path, *images: tuple[int, tuple[int, int] | None]) -> Path:
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for number, (orientation, annotated) in enumerate(images):
        save(root / "JPEGImages", f"{number}.png", orientation)
        width, height = annotated or (0, 0)
        image = {"file_name": f"{number}.png", "width": width, "height": height}
        (root / "Annotations" / f"{number}.xml").write_text(xml(image, [(NAMES[0], [2, 3, 10, 8])]))
    for split in ("train", "val"):
        names = "".join(f"{number}\n" for number in range(len(images)))
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text(names)
    return root


@pytest.mark.parametrize(("size", "expected"), [(TURNED, True), (STORED, False)])
def test_voc_files_without_a_size_follow_those_with_one(tmp_path, size, expected):
    data = voc(write_voc(tmp_path, (6, size), (8, None), (3, None), (3, STORED))).dataset("val")
    assert [turned(data, index) for index in range(4)] == [expected] * 4
    assert not any("EXIF" in line for line in data.remarks())


@pytest.mark.parametrize("orientation", [3, 6])
def test_voc_files_without_a_size_are_taken_as_stored_and_a_line_says_so(tmp_path, orientation):
    data = voc(write_voc(tmp_path, (orientation, None), (1, STORED))).dataset("val")
    assert not turned(data, 0)
    assert f"{ASSUMED} (1): {tmp_path}/JPEGImages/0.png; boxes are taken to be on the stored pixels" in data.remarks()
