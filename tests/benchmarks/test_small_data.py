"""Tests of the drawn pictures of shapes that a detector is trained on: their boxes, splits and seeds."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks.small_data import PICTURES, draw
from lightning_coordconv.detection import CocoDetection


@pytest.mark.parametrize("split", PICTURES)
def test_each_box_holds_what_it_names(split, tmp_path):
    draw(tmp_path, split, 0)
    data = CocoDetection(tmp_path, tmp_path / f"{split}.json")
    assert len(data) == PICTURES[split]
    content = json.loads((tmp_path / f"{split}.json").read_text())
    for image in content["images"]:
        boxes = [entry["bbox"] for entry in content["annotations"] if entry["image_id"] == image["id"]]
        left, top, width, height = boxes[-1]
        pixels = np.asarray(Image.open(tmp_path / image["file_name"]), dtype=int)
        middle = pixels[top + height // 2, left + 4 : left + width - 4]
        assert np.abs(middle - np.median(middle, axis=0)).mean() < 4  # the last shape is whole, and of one colour


def test_splits_and_seeds_have_other_photographs(tmp_path):
    drawn = set()
    for number, (split, seed) in enumerate((("train", 0), ("val", 0), ("train", 1), ("train", 0))):
        (tmp_path / str(number)).mkdir()
        draw(tmp_path / str(number), split, seed)
        drawn.add((tmp_path / str(number) / f"{split}.json").read_text().replace(split, ""))
    assert len(drawn) == 3
