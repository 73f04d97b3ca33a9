"""Tests that metrics, and positions in pixels, are in float32 where networks are in bfloat16, in every domain."""

import pytest
import torch
from torch import nn

from lightning_coordconv.coordinates import CoordinateRegression, CoordinateRendering, PointRegression
from lightning_coordconv.core.full_precision import in_full_precision
from lightning_coordconv.detection import Detector
from lightning_coordconv.generative import VAE
from tests.slow import slow_except


def is_rounded(values: torch.Tensor) -> bool:
    """Tell whether all values are numbers of bfloat16."""
    return bool((values.bfloat16().to(values.dtype) == values).all())


@pytest.fixture
def mixed():
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        yield


def test_values_of_any_structure_keep_integers_and_wider_numbers():
    given = {"a": [torch.ones(1).half(), torch.ones(1).long()], "b": (torch.ones(1).double(), "text")}
    (low, whole), (wide, text) = in_full_precision(given).values()
    assert (low.dtype, whole.dtype, wide.dtype, text) == (torch.float32, torch.int64, torch.float64, "text")


def test_losses_of_generators_are_not_rounded(mixed):
    class Halves(nn.Linear):
        def forward(self, image):
            return super().forward(image.flatten(1)).chunk(2, dim=1)

    vae = VAE(Halves(3 * 64, 8), nn.Sequential(nn.Linear(4, 3 * 64), nn.Unflatten(1, (3, 8, 8))), latent_size=4)
    losses = vae.bound(torch.rand(5, 3, 8, 8), torch.randn(5, 4))
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    assert not any(is_rounded(loss) for loss in losses.values())


def test_positions_in_pixels_are_not_rounded_after_the_network(mixed):
    flat = nn.Sequential(nn.Flatten(), nn.LazyLinear(2))
    image = torch.rand(4, 1, 100, 100)
    for task, batch in (
        (CoordinateRegression(flat), {"onehot": image, "xy": torch.rand(4, 2)}),
        (PointRegression(flat), {"image": image, "xy": torch.rand(4, 2), "size": torch.full((4, 2), 613.0)}),
    ):
        assert not is_rounded(task.evaluate(batch)["preds"])
    drawn = nn.Sequential(nn.Linear(2, 64), nn.Unflatten(1, (8, 8)))
    batch = {"xy_scaled": torch.rand(4, 2), "image": torch.ones(4, 1, 8, 8), "pixel_index": torch.zeros(4).long()}
    assert not is_rounded(CoordinateRendering(drawn).evaluate(batch)["preds"])


FAST = ["fasterrcnn_mobilenet_v3_large_320_fpn"]
OTHERS = [f"{kind}_resnet50_fpn" for kind in ("retinanet", "fcos", "maskrcnn")]


@pytest.mark.parametrize("name", slow_except(FAST, FAST + OTHERS))
def test_boxes_of_detectors_are_not_rounded(mixed, name):
    options = {"min_size": 96, "max_size": 128} | ({"score_thresh": 0.0} if "rcnn" not in name else {
        "box_score_thresh": 0.0, "box_batch_size_per_image": 4, "box_detections_per_img": 4,
        "rpn_post_nms_top_n_train": 8, "rpn_post_nms_top_n_test": 8,
    })  # fmt: skip
    net = Detector(name, num_classes=2, options=options)
    seen = []
    if "rcnn" in name:
        net.detector.roi_heads.register_forward_pre_hook(lambda module, given: seen.extend(given[1]))
    images = [torch.rand(3, 96, 128)]
    target = {
        "boxes": torch.tensor([[10.3, 20.7, 70.1, 80.9]]), "labels": torch.tensor([1]),
        "masks": torch.ones(1, 96, 128, dtype=torch.uint8),
    }  # fmt: skip
    with torch.no_grad():
        losses = net(images, [target])
        (found,) = net.eval()(images)
    assert all(loss.isfinite() for loss in losses.values())
    assert len(found["boxes"])
    assert not is_rounded(found["boxes"])
    assert {found["boxes"].dtype, found["scores"].dtype, *(boxes.dtype for boxes in seen)} == {torch.float32}
