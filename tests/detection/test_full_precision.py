"""Tests that boxes are computed in single precision where autocast computes the networks in half precision."""

import pytest
import torch
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_fpn

from lightning_coordconv.detection import Detector, DigitFasterRCNN, ObjectDetection, use_image_frames
from tests.detection.instances import TinyKeypointRCNN, TinyMaskRCNN
from tests.slow import slow_except

SMALL = {"min_size": 320, "max_size": 640}
NAMES = ("fasterrcnn_mobilenet_v3_large_fpn", "retinanet_resnet50_fpn", "fcos_resnet50_fpn")


def is_rounded(numbers: torch.Tensor) -> bool:
    return torch.equal(numbers, numbers.bfloat16().float())


@torch.no_grad()
@pytest.mark.parametrize(
    "build",
    [*slow_except(["fasterrcnn_mobilenet_v3_large_fpn"], list(NAMES)), DigitFasterRCNN, TinyMaskRCNN, TinyKeypointRCNN],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_anchors_and_boxes_have_more_than_eight_bits(build, dtype):
    torch.manual_seed(0)
    net = Detector(build, 3, "stem", options=SMALL) if isinstance(build, str) else build()
    detector = getattr(net, "detector", net).eval()
    seen = {}
    generator = detector.rpn.anchor_generator if hasattr(detector, "rpn") else detector.anchor_generator
    generator.register_forward_hook(lambda module, inputs, output: seen.update(anchors=output[0]))
    getattr(detector, "roi_heads", detector).score_thresh = 0.0
    size = (321, 601) if isinstance(build, str) else (63, 77)
    with torch.autocast("cpu", dtype):
        (found,) = net.eval()([torch.rand(1 if build is DigitFasterRCNN else 3, *size)])
    assert seen["anchors"].dtype == torch.float32
    for name in ("boxes", "scores", "masks", "keypoints"):
        if name in found:
            assert found[name].dtype == torch.float32
    assert len(found["boxes"])
    assert not is_rounded(found["boxes"])


def test_a_detector_without_image_frames_is_refused():
    class Own(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.detector = fasterrcnn_mobilenet_v3_large_fpn(weights=None, weights_backbone=None, num_classes=3)

    task = ObjectDetection(Own())
    task.check_precision("32-true")
    with pytest.raises(ValueError, match=r"FasterRCNN computes boxes in .* 'bf16-mixed': call use_image_frames"):
        task.check_precision("bf16-mixed")
    use_image_frames(task.net.detector, mask_padding=False)
    task.check_precision("bf16-mixed")


@torch.no_grad()
def test_boxes_are_those_of_single_precision_up_to_what_the_networks_round():
    """Of a detector whose regression is 0, boxes are the anchors, cut at the border, whatever the precision."""
    torch.manual_seed(0)
    net = Detector("fasterrcnn_mobilenet_v3_large_fpn", 3, "none", options=SMALL | {"box_score_thresh": 0.0}).eval()
    for module in (net.detector.rpn.head.bbox_pred, net.detector.roi_heads.box_predictor.bbox_pred):
        torch.nn.init.zeros_(module.weight)
        torch.nn.init.zeros_(module.bias)
    image = torch.rand(3, 321, 601)
    with torch.autocast("cpu", torch.bfloat16):
        (found,) = net([image])
    seen = []
    net.detector.rpn.anchor_generator.register_forward_hook(lambda module, inputs, output: seen.append(output[0]))
    net([image])
    scale = torch.tensor([601 / 599, 321 / 320] * 2)  # of the resized image
    anchors = seen[0] * scale
    limits = torch.tensor([601.0, 321.0] * 2)
    cut = anchors.clamp(min=0).minimum(limits)
    assert torch.cdist(found["boxes"], cut, p=torch.inf).amin(1).max() < 0.01
