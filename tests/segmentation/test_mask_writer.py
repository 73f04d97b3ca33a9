"""Tests of the callback that writes predicted masks: count over ranks, and equal names in two folders."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_coordconv.segmentation import mask_writer
from lightning_coordconv.segmentation.mask_writer import MaskWriter
from tests.segmentation.masks import dataset, save


def test_the_number_of_masks_is_that_of_all_ranks(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(mask_writer, "gathered", lambda part: [part, 3])
    writer = MaskWriter()
    writer.folder, writer.written = tmp_path, {tmp_path / "a.png": "a", tmp_path / "b.png": "b"}
    with caplog.at_level("INFO"):
        writer.on_predict_end(None, None)
    assert "Wrote 5 masks to" in caplog.text


def test_images_of_one_name_in_two_folders_have_two_predictions(pair, tmp_path):
    save(pair, np.zeros((10, 12), np.uint8))
    for side in ("left", "right"):
        for kind, colour in (("images", "RGB"), ("masks", "L")):
            (pair / kind / side).mkdir()
            Image.new(colour, (12, 10)).save(pair / kind / side / "b.png")
    samples = list(dataset(pair))
    writer = MaskWriter()
    strategy = SimpleNamespace(broadcast=lambda value: value)
    writer.on_predict_start(SimpleNamespace(log_dir=str(tmp_path / "log"), strategy=strategy), None)
    predictions = [torch.zeros(10, 12, dtype=torch.uint8)] * len(samples)
    batch = {"name": [sample["name"] for sample in samples], "path": [sample["path"] for sample in samples]}
    writer.write_on_batch_end(None, None, predictions, None, batch, 0, 0)
    written = {str(path.relative_to(tmp_path / "log" / "masks")) for path in (tmp_path / "log").rglob("*.png")}
    assert written == {"a.png", "left/b.png", "right/b.png"}


def test_a_mask_does_not_replace_that_of_another_image(tmp_path):
    """Samples of a user's data need no ``name``; an image that is predicted twice, as under DDP, is no other image."""
    writer = MaskWriter()
    writer.folder = tmp_path
    masks = [torch.zeros(4, 4, dtype=torch.uint8)] * 2
    writer.write_on_batch_end(None, None, masks, None, {"path": ["left/a.jpg", "left/a.jpg"]}, 0, 0)
    assert len(writer.written) == 1
    with pytest.raises(ValueError, match=r"the masks of left/a\.jpg and right/a\.jpg would both be .*a\.png"):
        writer.write_on_batch_end(None, None, masks, None, {"path": ["left/b.jpg", "right/a.jpg"]}, 1, 0)
