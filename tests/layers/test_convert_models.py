"""Tests of converting models of torchvision and timm to CoordConv and back: equal outputs, and gradients."""

import copy

import pytest
import timm
import torch
import torchvision
from torch import nn

from lightning_coordconv.layers import (
    coordconv_layers,
    from_coordconv,
    to_coordconv,
)
from tests.layers.test_convert import PLAIN


def flat(out):
    """All tensors of a model's output, in order."""
    if isinstance(out, torch.Tensor):
        return [out]
    return [t for value in (out.values() if isinstance(out, dict) else out) for t in flat(value)]


def outputs(model, inputs):
    torch.manual_seed(0)
    with torch.no_grad():
        return flat(model(inputs))


IMAGE = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
NO_WEIGHTS = {"weights": None, "weights_backbone": None}
SMALL = {"min_size": 64, "max_size": 96}


def tv(name, **kwargs):
    return lambda: torchvision.models.get_model(name, **kwargs)


MODELS = {
    "resnet18": (tv("resnet18"), IMAGE),
    "mobilenet_v3_small": (tv("mobilenet_v3_small"), IMAGE),
    "squeezenet1_1": (tv("squeezenet1_1"), IMAGE),
    "shufflenet_v2_x0_5": (tv("shufflenet_v2_x0_5"), IMAGE),
    "lraspp": (tv("lraspp_mobilenet_v3_large", num_classes=4, **NO_WEIGHTS), IMAGE),
    "deeplabv3": (tv("deeplabv3_mobilenet_v3_large", num_classes=4, **NO_WEIGHTS), IMAGE),
    "fasterrcnn": (tv("fasterrcnn_mobilenet_v3_large_320_fpn", num_classes=3, **SMALL, **NO_WEIGHTS), list(IMAGE)),
    "ssdlite": (tv("ssdlite320_mobilenet_v3_large", num_classes=3, **NO_WEIGHTS), list(IMAGE)),
    "timm_resnet10t": (lambda: timm.create_model("resnet10t"), IMAGE),
    "timm_efficientnet_lite0": (lambda: timm.create_model("efficientnet_lite0"), IMAGE),
    "timm_convnext_atto": (lambda: timm.create_model("convnext_atto"), IMAGE),
    "timm_vit_tiny": (lambda: timm.create_model("vit_tiny_patch16_224", img_size=64), IMAGE),
}


@pytest.mark.slow
@pytest.mark.parametrize("where", ["first", "all"])
@pytest.mark.parametrize("name", MODELS)
def test_real_models(name, where):
    make, inputs = MODELS[name]
    torch.manual_seed(0)
    model = make().eval()
    plain_state = copy.deepcopy(model.state_dict())
    before = outputs(model, inputs)
    convs = [n for n, m in model.named_modules() if isinstance(m, tuple(PLAIN))]
    to_coordconv(model, where)
    assert list(coordconv_layers(model)) == (convs if where == "all" else convs[:1])
    assert all(torch.equal(a, b) for a, b in zip(before, outputs(model, inputs), strict=True))
    added = [key for key in model.state_dict() if key not in plain_state]
    assert added == [f"{n}.coord_weight" for n in coordconv_layers(model)]

    # a plain checkpoint loads into the converted model, and into one that was trained meanwhile
    for layer in coordconv_layers(model).values():
        nn.init.ones_(layer.coord_weight)
    model.load_state_dict(plain_state, strict=True)
    assert all(torch.equal(a, b) for a, b in zip(before, outputs(model, inputs), strict=True))

    from_coordconv(model)
    model.load_state_dict(plain_state, strict=True)
    assert all(torch.equal(a, b) for a, b in zip(before, outputs(model, inputs), strict=True))


@pytest.mark.slow
def test_a_video_model_with_subclasses_that_only_set_arguments():
    model = torchvision.models.get_model("r3d_18").eval()
    video = torch.rand(1, 3, 4, 32, 32)
    before = outputs(model, video)
    to_coordconv(model, "all")
    assert len(coordconv_layers(model)) == 20
    assert all(torch.equal(a, b) for a, b in zip(before, outputs(model, video), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnetv2_50x1_bit", "nf_regnet_b0"])
def test_timm_models_with_stems_of_a_subclass(name):
    """Each has a stem that pads as TensorFlow does or standardises its weight."""
    model = timm.create_model(name, num_classes=4).eval()
    stem = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    assert type(stem) is not nn.Conv2d
    before = outputs(model, IMAGE)
    to_coordconv(model)
    assert list(coordconv_layers(model).values()) == [stem]
    assert all(torch.equal(a, b) for a, b in zip(before, outputs(model, IMAGE), strict=True))


@pytest.mark.slow
def test_detection_model_trains():
    torch.manual_seed(0)
    model = to_coordconv(MODELS["fasterrcnn"][0](), ["backbone.fpn.*", "rpn.*"])
    target = {"boxes": torch.tensor([[4.0, 4.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
    sum(model(list(IMAGE), [target]).values()).backward()
    assert all(layer.coord_weight.grad is not None for layer in coordconv_layers(model).values())
