"""Tests of the choice of convolutions to convert: convertible in real models, and the first of each detector head."""

import pytest
import timm
from torchvision.models import resnet18
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn, retinanet_resnet50_fpn
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

from lightning_coordconv import coordconv_layers, to_coordconv
from lightning_coordconv.position import place
from lightning_coordconv.position.features import run, stages
from tests.position.samples import images


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "classes"),
    [
        (resnet18, ["conv1", "layer4.1.conv2"]),
        (lambda: lraspp_mobilenet_v3_large(weights=None, weights_backbone=None), None),
        (lambda: timm.create_model("convnext_atto"), None),
        pytest.param(
            lambda: fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None),
            None,
            marks=pytest.mark.slow,
        ),
    ],
    ids=["resnet18", "lraspp", "convnext", "faster_rcnn"],
)
def test_places_can_be_converted(network, classes):
    model = network().eval()
    inputs = images(1, 3, 96)
    placement = place(model, lambda: run(model, inputs))
    assert placement.names
    if classes is not None:
        assert placement.names == classes
    before = stages(model, inputs)
    to_coordconv(model, where=placement.names)
    assert list(coordconv_layers(model)) == sorted(placement.names, key=list(dict(model.named_modules())).index)
    assert stages(model, inputs) == before


@pytest.mark.parametrize("name", ["seresnet18", "mobilenetv3_small_050", "lcnet_050"])
def test_a_layer_that_sees_one_cell_is_no_place(name):
    """Squeeze and excitation, and layers behind the pool, where every coordinate is 0."""
    model = timm.create_model(name).eval()
    cells = {}
    for layer, module in model.named_modules():
        module.register_forward_hook(lambda *seen, layer=layer: cells.update({layer: seen[2].shape[2:]}))
    names = place(model, lambda: run(model, images(1, 3, 96))).names
    assert len(names) == 2
    assert all(cells[name].numel() > 1 for name in names)


@pytest.mark.slow
def test_the_first_convolution_of_each_head_is_converted():
    model = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None).eval()
    heads = [name for name in place(model, lambda: run(model, images(1, 3, 96))).names if "head" in name]
    assert heads == ["rpn.head.conv.0.0"]
    model = retinanet_resnet50_fpn(weights=None, weights_backbone=None).eval()
    heads = [name for name in place(model, lambda: run(model, images(1, 3, 96))).names if "head" in name]
    assert heads == ["head.classification_head.conv.0.0", "head.regression_head.conv.0.0"]
