"""Tests of torchvision's detectors with coordinates: the layers that get them, weights from files, wrong arguments."""

import pytest
import torch
from torch import nn
from torchvision.models import MobileNet_V3_Large_Weights, get_model, mobilenet_v3_large
from torchvision.ops.misc import FrozenBatchNorm2d

from lightning_coordconv import coordconv_layers
from lightning_coordconv.detection import Detector
from tests.detection.test_image_frames import MOBILE, SMALL, shaken


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


@pytest.mark.slow
@torch.no_grad()
def test_weights_of_a_detector_from_a_file(tmp_path):
    """The boxes are those of torchvision's detector with the same file, as coordinate weights start at zero."""
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


@pytest.mark.slow
def test_torchvisions_file_has_the_epsilon_that_its_weights_were_trained_with(tmp_path, caplog):
    """Those of COCO_V1 were trained with 0; a detector from any other file, such as one of your own, with 1e-5."""
    name = "fasterrcnn_resnet50_fpn"
    theirs = get_model(name, weights=None, weights_backbone=None)
    for file, epsilon in (("fasterrcnn_resnet50_fpn_coco-258fb6c6.pth", 0.0), ("mine.pth", 1e-5)):
        torch.save(theirs.state_dict(), tmp_path / file)
        with caplog.at_level("INFO"):
            net = Detector(name, 91, weights=str(tmp_path / file))
        assert net.detector.backbone.body.bn1.eps == epsilon
        assert ("has an epsilon of 1e-5" in caplog.text) is (epsilon > 0)


@pytest.mark.slow
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
        ({"weights": "a", "weights_backbone": "b"}, ValueError, "weights=a include the backbone: leave out"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        Detector(**{"name": MOBILE, "num_classes": 3, **arguments})


@pytest.mark.slow
def test_wrong_weights_are_refused(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"no weights")
    with pytest.raises(ValueError, match=f"{path} is damaged, or not a checkpoint"):
        Detector(MOBILE, 3, weights=str(path))
    torch.save(mobilenet_v3_large(weights=None).state_dict(), path)
    with pytest.raises(ValueError, match=r"another architecture: \d+ are missing, as .*, and \d+ unknown"):
        Detector(MOBILE, 3, weights=str(path))
    torch.save({"0.0.weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"another architecture: size mismatch for 0.0.weight"):
        Detector(MOBILE, 3, weights_backbone=str(path))


@pytest.mark.slow
def test_downloads_are_compared_with_their_hash(tmp_path, monkeypatch):
    served = tmp_path / "served" / "weights-0123abcd.pth"
    served.parent.mkdir()
    torch.save(mobilenet_v3_large(weights=None).state_dict(), served)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(MobileNet_V3_Large_Weights.IMAGENET1K_V1.value, "url", served.as_uri())
    with pytest.raises(RuntimeError, match="0123abcd"):
        Detector(MOBILE, 3, weights_backbone="IMAGENET1K_V1")
    assert not list((tmp_path / "cache").rglob("*.pth"))
