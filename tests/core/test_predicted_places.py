"""Tests that predicted places are those in the picture, or the preparation of images that moves them is refused."""

import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from lightning_coordconv.coordinates import PointPredictor, PointRegression
from lightning_coordconv.detection import DetectionPredictor, ObjectDetection
from lightning_coordconv.segmentation import SegmentationPredictor, SemanticSegmentation

STEPS = {"resize": 50, "crop": 90, "stretch": 64}


class Middle(nn.Module):
    """Finds the middle of what is white, in shares of width and height."""

    def forward(self, images: Tensor) -> Tensor:
        rows, columns = ((images.mean(1).sum(axis) / images.mean(1).sum((1, 2))[:, None]) for axis in (2, 1))
        middles = [(part * (torch.arange(part.shape[1]) + 0.5) / part.shape[1]).sum(1) for part in (columns, rows)]
        return torch.stack(middles, 1)


class Box(nn.Module):
    """Finds the box of what is white."""

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        found = [(image.mean(0) > 0.5).nonzero().flip(1) for image in images]
        boxes = [torch.cat([each.amin(0), each.amax(0) + 1])[None].float() for each in found]
        return [{"boxes": box, "labels": torch.ones(1, dtype=torch.int64), "scores": torch.ones(1)} for box in boxes]


class White(nn.Module):
    """Says of each pixel whether it is white."""

    def forward(self, images: Tensor) -> Tensor:
        white = images.mean(1, keepdim=True) - 0.5
        return torch.cat([-white, white], 1)


def picture() -> Image.Image:
    image = Image.new("RGB", (200, 100))
    ImageDraw.Draw(image).rectangle((140, 20, 149, 29), "white")
    return image


def find(kind: str, **steps: int) -> list[float]:
    """Return what a predictor says of the picture: a point, a box, or the box of the white pixels."""
    task = {
        "point": lambda: PointRegression(Middle()),
        "boxes": lambda: ObjectDetection(Box()),
        "labels": lambda: SemanticSegmentation(White(), 2),
    }[kind]()
    task.inference = {"preprocessing": steps}
    if kind == "point":
        point = PointPredictor(task, "cpu").predict(picture())
        return [point.x, point.y]
    if kind == "boxes":
        return DetectionPredictor(task, "cpu").predict(picture()).boxes[0].tolist()
    places = SegmentationPredictor(task, "cpu").predict(picture()).labels.nonzero().flip(1)
    return torch.cat([places.amin(0), places.amax(0) + 1]).tolist()


@pytest.mark.parametrize("kind", ["boxes", "labels"])
def test_boxes_and_label_maps_are_those_of_the_picture(kind):
    assert find(kind) == [140, 20, 150, 30]


@pytest.mark.parametrize("step", [None, "resize", "stretch"])
def test_a_point_is_the_one_in_the_picture_though_the_network_sees_another_size(step):
    assert find("point", **({} if step is None else {step: STEPS[step]})) == pytest.approx([144.5, 24.5], abs=0.5)


@pytest.mark.parametrize("step", ["resize", "stretch"])
def test_a_label_map_has_the_size_of_the_picture_though_the_network_sees_another(step):
    assert find("labels", **{step: STEPS[step]}) == pytest.approx([140, 20, 150, 30], abs=2)


@pytest.mark.parametrize(
    ("kind", "step"), [("point", "crop"), ("labels", "crop"), *(("boxes", step) for step in STEPS)]
)
def test_a_preparation_that_moves_places_is_refused(kind, step):
    with pytest.raises(ValueError, match=f"prepare images with {step}={STEPS[step]}, .* not in the picture: train"):
        find(kind, **{step: STEPS[step]})
