"""Tests that own detectors find the same alone and in a batch, or are refused by the module that sees the padding."""

import pytest
import torch
from torch import nn
from torchvision.models.detection import FCOS, FasterRCNN, ssdlite320_mobilenet_v3_large
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

from lightning_coordconv import to_coordconv
from lightning_coordconv.detection import use_image_frames
from tests.detection.test_image_frames import distance, images


class Scaled(nn.Module):
    """Squeeze and excitation: scale a map by what a module makes of it, (B, C, 1, 1)."""

    def __init__(self, squeeze: nn.Module) -> None:
        super().__init__()
        self.squeeze = squeeze
        self.scale = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        return x * (1 + self.scale(self.squeeze(x)))


class Mean(nn.Module):
    def forward(self, x):
        return x.mean((2, 3), keepdim=True)


def without_bias(norm: nn.GroupNorm) -> nn.GroupNorm:
    """Return it as newer versions of torch build it with ``bias=False``."""
    norm.bias = None
    return norm


def detector(module: nn.Module) -> FasterRCNN:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), module, nn.Conv2d(8, 8, 3, stride=4, padding=1))
    backbone.out_channels = 8
    net = FasterRCNN(
        backbone, 3, min_size=64, max_size=128, rpn_anchor_generator=AnchorGenerator(((24,),), ((1.0,),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 5, 2), box_score_thresh=0.0, box_nms_thresh=1.0,
        box_detections_per_img=1000, rpn_post_nms_top_n_test=50,
    )  # fmt: skip
    to_coordconv(net.backbone, "first")
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    return net.eval()


@pytest.mark.parametrize(
    "module",
    [
        Scaled(nn.AdaptiveAvgPool2d((1, 1))),
        Scaled(nn.AdaptiveAvgPool2d(1)),
        Scaled(nn.AdaptiveMaxPool2d((1, 1))),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.AvgPool2d(3, stride=2, padding=1),
        nn.GroupNorm(4, 8, affine=False),
        nn.GroupNorm(2, 8),
        without_bias(nn.GroupNorm(2, 8)),
        nn.ConvTranspose2d(8, 8, 4, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.Upsample(scale_factor=2, mode="nearest"),
    ],
    ids=repr,
)
@torch.no_grad()
def test_an_own_detector_finds_in_a_batch_what_it_finds_alone(module):
    net = detector(module).double()
    use_image_frames(net, multiple=32)
    for pair in (((64, 64), (64, 128)), ((64, 96), (70, 64))):
        batch = images(*pair)
        for image, beside in zip(batch, net(batch), strict=True):
            assert distance(beside, net([image])[0]) < 1e-8


@pytest.mark.parametrize(
    ("module", "named"),
    [
        (Scaled(Mean()), r"backbone\.1\.squeeze \(Mean\)"),
        (nn.AdaptiveAvgPool2d(8), r"backbone\.1 \(AdaptiveAvgPool2d\)"),
        (nn.Upsample(scale_factor=2, mode="bilinear"), r"backbone\.1 \(Upsample\)"),
        (nn.InstanceNorm2d(8), r"backbone\.1 \(InstanceNorm2d\)"),
        (nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"), r"backbone\.1 \(Conv2d\)"),
        (nn.ReflectionPad2d(1), r"backbone\.1 \(ReflectionPad2d\)"),
        (nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False), r"backbone\.1 \(AvgPool2d\)"),
    ],
    ids=lambda value: repr(value).split("(")[0],
)
def test_a_module_that_sees_the_padding_is_named(module, named):
    net = detector(module).train()
    with pytest.raises(ValueError, match=f"would depend on the other images of the batch: {named}.*mask_padding=False"):
        use_image_frames(net, multiple=32)
    assert all(part.training for part in net.modules())
    assert not any(part._forward_hooks for part in net.backbone.modules() if type(part) is Mean)
    use_image_frames(detector(module), mask_padding=False, multiple=32)


def test_other_kinds_of_detectors_are_refused():
    net = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    with pytest.raises(TypeError, match="must be a GeneralizedRCNN, RetinaNet or FCOS, got SSD"):
        use_image_frames(net)


def test_frames_are_added_once():
    net = detector(nn.ReLU())
    use_image_frames(net, multiple=32)
    with pytest.raises(ValueError, match="this FasterRCNN has image frames already"):
        use_image_frames(net, multiple=32)


def test_a_dense_head_is_checked():
    backbone = nn.Sequential(nn.Conv2d(3, 32, 3, stride=4, padding=1))
    backbone.out_channels = 32
    net = FCOS(backbone, 3, anchor_generator=AnchorGenerator(((8,),), ((1.0,),)), min_size=64)
    net.head.regression_head.conv[0].padding_mode = "circular"
    net.head.regression_head.conv[0]._reversed_padding_repeated_twice = (1, 1, 1, 1)
    with pytest.raises(ValueError, match=r"head\.regression_head\.conv\.0"):
        use_image_frames(net, multiple=32)
