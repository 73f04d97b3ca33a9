"""Tests that transforms that leave no box in the images tried are refused, and those that empty some are reported."""

import logging

import pytest
import torch
from torchvision.transforms import v2

from tests.detection.test_data import coco


class Corner(torch.nn.Module):
    """Cut out a corner of an image, and of its boxes what is there."""

    def __init__(self, top: int, left: int, height: int, width: int) -> None:
        super().__init__()
        self.corner = (top, left, height, width)

    def forward(self, sample: dict) -> dict:
        torch.rand(())  # must not change the random numbers of the run
        cut = {name: v2.functional.crop(sample[name], *self.corner) for name in ("image", "boxes")}
        return {**sample, **cut}


class TestTransforms:
    """What the transforms of the training images drop is counted and named; a split without a box is refused."""

    @pytest.mark.parametrize("transform", [Corner(0, 0, 4, 4), Corner(500, 500, 10, 10)])
    def test_that_leave_no_box_are_refused(self, photographs, transform):
        data = coco(photographs, train_transforms=[transform])
        with pytest.raises(ValueError, match=r"leave no box in 3 of 3 images tried: .*hopper.jpg; there"):
            data.dataset("train")
        data.dataset("val")

    def test_that_leave_some_images_without_a_box_are_reported(self, photographs, caplog):
        data = coco(photographs, train_transforms=[Corner(0, 130, 400, 20)])
        before = torch.get_rng_state()
        with caplog.at_level(logging.INFO):
            train = data.dataset("train")
        assert torch.equal(before, torch.get_rng_state())
        emptied = [
            known["file_name"] for known, sample in zip(train.images, train, strict=True) if not len(sample["boxes"])
        ]
        assert 0 < len(emptied) < 3
        assert f"leave no box in {len(emptied)} of 3 images tried: {', '.join(emptied)}" in caplog.text

    @pytest.mark.parametrize(
        "transforms", [None, [], [v2.RandomHorizontalFlip(1.0)], [v2.RandomIoUCrop(), v2.Resize(80)]]
    )
    def test_that_keep_boxes_are_not(self, photographs, caplog, transforms):
        with caplog.at_level(logging.INFO):
            coco(photographs, train_transforms=transforms).dataset("train")
        assert "transforms leave no box" not in caplog.text
