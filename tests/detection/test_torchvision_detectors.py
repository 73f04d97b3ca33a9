"""torchvision's detectors with coordinates: the same boxes whatever the batch mates, and weights from files."""

import copy

import pytest
import torch
from torch import nn
from torchvision.models import MobileNet_V3_Large_Weights, get_model, mobilenet_v3_large
from torchvision.ops.misc import FrozenBatchNorm2d

from lightning_coordconv import coordconv_layers
from lightning_coordconv.detection import Detector

SMALL = {"min_size": 64, "max_size": 128}
MOBILE = "fasterrcnn_mobilenet_v3_large_fpn"


def shaken(detector: nn.Module) -> nn.Module:
    """Draw everything that begins as zero or alike at random, so that no two boxes score the same by design."""
    generator = torch.Generator().manual_seed(0)
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.normal_(module.bias, std=0.3, generator=generator)
    for name, parameter in detector.named_parameters():
        if name.endswith("coord_weight"):
            nn.init.normal_(parameter, std=0.05, generator=generator)
        elif "cls_logits" in name:
            nn.init.normal_(parameter, std=0.03, generator=generator)
    return detector.eval()


@pytest.mark.parametrize(
    ("name", "coordinates"),
    [
        (MOBILE, "pp_yolo"),
        (MOBILE, "backbone"),
        pytest.param("fasterrcnn_resnet50_fpn", "stem", marks=pytest.mark.slow),
        pytest.param("fasterrcnn_resnet50_fpn_v2", "pp_yolo", marks=pytest.mark.slow),
        pytest.param("retinanet_resnet50_fpn", "pp_yolo", marks=pytest.mark.slow),
        pytest.param("retinanet_resnet50_fpn_v2", "stem", marks=pytest.mark.slow),
        pytest.param("fcos_resnet50_fpn", "pp_yolo", marks=pytest.mark.slow),
    ],
)
@torch.no_grad()
def test_same_boxes_whatever_the_batch_mates(name, coordinates):
    torch.manual_seed(0)
    net = shaken(Detector(name, 5, coordinates, options=SMALL | everything(name)))
    image, mate = torch.rand(3, 60, 72), torch.rand(3, 64, 160)
    (alone,) = net([image])
    assert len(alone["boxes"]) > 10
    for batch in ([image, mate], [mate, image]):
        beside = net(batch)[0 if batch[0] is image else 1]
        assert len(beside["boxes"]) == len(alone["boxes"])
        mine, theirs = (rows(found) for found in (beside, alone))
        distance = (mine[:, None] - theirs[None]).abs().amax(-1)  # rounding may swap boxes that score alike
        assert distance.amin(0).max() < 0.01
        assert distance.amin(1).max() < 0.01


def rows(found: dict[str, torch.Tensor]) -> torch.Tensor:
    """Detections as rows of a table, in which a hundredth of a score counts as much as a pixel."""
    return torch.cat([found["boxes"], 100 * found["scores"][:, None], 100 * found["labels"][:, None]], dim=1)


def everything(name: str) -> dict[str, float]:
    """Options that keep all boxes: of two that score alike, suppression would keep the one that rounding favours."""
    keep = {"score_thresh": 0.0, "nms_thresh": 1.0, "detections_per_img": 10_000}
    return {f"box_{key}": value for key, value in keep.items()} if "rcnn" in name else keep


@torch.no_grad()
def test_coordinates_end_with_the_image_and_not_with_the_canvas():
    net = Detector(MOBILE, 5, "stem", options=SMALL).eval()
    (layer,) = coordconv_layers(net).values()
    nn.init.zeros_(layer.weight)
    layer.coord_weight.data[:] = 0.0
    layer.coord_weight.data[0, 1, 1, 1] = 1.0  # the column at the centre of the kernel
    seen = []
    layer.register_forward_hook(lambda module, inputs, output: seen.append(output[:, 0]))
    net([torch.rand(3, 64, 64), torch.rand(3, 64, 128)])
    ((short, long),) = seen
    torch.testing.assert_close(short[5, :32], torch.linspace(-1, 1, 64)[::2])
    torch.testing.assert_close(long[5, :64], torch.linspace(-1, 1, 128)[::2])


def test_a_copy_has_frames_of_its_own():
    net = Detector(MOBILE, 5, "stem", options=SMALL).eval()
    twin = copy.deepcopy(net)
    (hook,) = net.detector.transform._forward_hooks.values()
    (other,) = twin.detector.transform._forward_hooks.values()
    assert hook.__self__ is not other.__self__
    entering = next(iter(twin.detector.backbone._forward_pre_hooks.values()))
    assert entering.__self__ is other.__self__


@pytest.mark.parametrize(
    ("name", "coordinates", "converted"),
    [
        (MOBILE, "none", []),
        (MOBILE, "stem", ["backbone.body.0.0"]),
        (MOBILE, "pp_yolo", ["backbone.fpn.inner_blocks.0.0", "backbone.fpn.inner_blocks.1.0", "rpn.head.conv.0.0"]),
        pytest.param(
            "retinanet_resnet50_fpn",
            "pp_yolo",
            [f"backbone.fpn.inner_blocks.{level}.0" for level in range(3)]
            + [f"head.{head}_head.conv.0.0" for head in ("classification", "regression")],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "fcos_resnet50_fpn",
            "pp_yolo",
            [f"backbone.fpn.inner_blocks.{level}.0" for level in range(3)]
            + [f"head.{head}_head.conv.0" for head in ("classification", "regression")],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_coordinates_go_where_they_are_wanted(name, coordinates, converted):
    assert list(coordconv_layers(Detector(name, 3, coordinates).detector)) == converted


@torch.no_grad()
def test_weights_of_a_detector_from_a_file(tmp_path):
    """As torchvision would load them: the same boxes to the bit, with coordinates that are zero still."""
    torch.manual_seed(0)
    theirs = shaken(get_model(MOBILE, weights=None, weights_backbone=None, num_classes=4, **SMALL))
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    mine = Detector(MOBILE, 4, "pp_yolo", str(tmp_path / "weights.pth"), mask_padding=False, options=SMALL).eval()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in mine.modules())
    assert sum(isinstance(module, FrozenBatchNorm2d) for module in mine.modules()) > 40
    images = [torch.rand(3, 60, 72), torch.rand(3, 64, 100)]
    for ours, expected in zip(mine(images), theirs(images), strict=True):
        torch.testing.assert_close(ours["scores"], expected["scores"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours["boxes"], expected["boxes"], rtol=1e-4, atol=1e-3)

    other = Detector(MOBILE, 7, "stem", str(tmp_path / "weights.pth"))  # other classes: what predicts them is new
    assert other.detector.roi_heads.box_predictor.cls_score.out_features == 7
    kept = other.detector.roi_heads.box_head.fc6.weight
    assert torch.equal(kept, theirs.roi_heads.box_head.fc6.weight)


def test_weights_of_a_backbone_from_a_file(tmp_path):
    classifier = mobilenet_v3_large(weights=None)
    torch.save(classifier.state_dict(), tmp_path / "mobilenet.pth")
    net = Detector(MOBILE, 3, "stem", weights_backbone=str(tmp_path / "mobilenet.pth"))
    assert torch.equal(net.detector.backbone.body["0"][0].weight, classifier.features[0][0].weight)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": "yolo"}, ValueError, "name must be one of .*, got 'yolo'"),
        ({"coordinates": "neck"}, ValueError, "coordinates must be one of none, stem, .*, got 'neck'"),
        (
            {"weights": "COCO_V7"},
            FileNotFoundError,
            "COCO_V7 is neither a file nor one of torchvision's weights of .*V1",
        ),
        ({"weights": "a", "weights_backbone": "b"}, ValueError, "weights=a are of the backbone too: leave out"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        Detector(**{"name": MOBILE, "num_classes": 3, **arguments})


def test_wrong_weights_are_refused(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"no weights")
    with pytest.raises(ValueError, match=f"{path} is damaged, or not a state dict"):
        Detector(MOBILE, 3, weights=str(path))
    torch.save(mobilenet_v3_large(weights=None).state_dict(), path)
    with pytest.raises(ValueError, match=r"another architecture: \d+ are missing, as .*, and \d+ unknown"):
        Detector(MOBILE, 3, weights=str(path))
    torch.save({"0.0.weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"another architecture: size mismatch for 0.0.weight"):
        Detector(MOBILE, 3, weights_backbone=str(path))


def test_downloads_are_compared_with_their_hash(tmp_path, monkeypatch):
    served = tmp_path / "served" / "weights-0123abcd.pth"
    served.parent.mkdir()
    torch.save(mobilenet_v3_large(weights=None).state_dict(), served)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(MobileNet_V3_Large_Weights.IMAGENET1K_V1.value, "url", served.as_uri())
    with pytest.raises(RuntimeError, match="0123abcd"):
        Detector(MOBILE, 3, weights_backbone="IMAGENET1K_V1")
    assert not list((tmp_path / "cache").rglob("*.pth"))
