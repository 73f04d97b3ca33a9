"""Tests of folded models: equal outputs at the folded size, an error at other sizes, and models that are refused."""

import copy

import pytest
import torch
import torchvision
from torch import nn

from lightning_coordconv.layers import (
    CoordConv1d,
    CoordConv2d,
    CoordConv3d,
    CoordConvTranspose1d,
    CoordConvTranspose2d,
    CoordConvTranspose3d,
    FourierFeatures,
    coordconv_layers,
    coordinate_frame,
    fold_coordconv,
    to_coordconv,
)
from tests.slow import slow_except

SHAPES = {1: (9,), 2: (9, 8), 3: (5, 6, 7)}
LAYERS = [CoordConv1d, CoordConv2d, CoordConv3d, CoordConvTranspose1d, CoordConvTranspose2d, CoordConvTranspose3d]


def trained(model):
    """Give the coordinate weights values that matter."""
    torch.manual_seed(1)
    for layer in coordconv_layers(model).values():
        nn.init.normal_(layer.coord_weight, std=0.1)
    return model


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("unbatched", [False, True])
def test_every_layer(kind, unbatched):
    n = int(kind.__name__[-2])
    layer = kind(4, 6, 3, stride=2, padding=1, groups=2, with_r=True)
    x = torch.randn(*(() if unbatched else (3,)), 4, *SHAPES[n])
    folded = fold_coordconv(layer, x)
    assert isinstance(folded, getattr(nn, kind.__name__.removeprefix("Coord")))
    torch.testing.assert_close(folded(x), layer(x))
    batch = torch.randn(2, 4, *SHAPES[n])
    torch.testing.assert_close(folded(batch), layer(batch))
    torch.testing.assert_close(folded(batch[0]), layer(batch[0]))
    assert [name for name, _ in folded.named_parameters()] == ["weight"]
    (buffer,) = [name for name, _ in folded.named_buffers()]
    assert buffer.startswith("coordinate_bias_" + "x".join(map(str, SHAPES[n])) + "_to_")
    assert type(layer) is kind


OPTIONS = [
    {"padding_mode": "circular", "padding": 1},
    {"padding": "same"},
    {"bias": False},
    {"encoding": FourierFeatures(2)},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_options(options):
    layer = CoordConv2d(3, 4, 3, **options)
    x = torch.randn(2, 3, 7, 6)
    torch.testing.assert_close(fold_coordconv(layer, x)(x), layer(x))


def test_output_size():
    class Up(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = CoordConvTranspose2d(3, 2, 3, stride=2, padding=1)

        def forward(self, x, size):
            return self.up(x, output_size=size)

    x, net = torch.randn(2, 3, 4, 5), Up()
    folded = fold_coordconv(net, (x, [8, 9]))
    torch.testing.assert_close(folded(x, [8, 9]), net(x, [8, 9]))
    with pytest.raises(ValueError, match="folded for inputs of 4x5"):
        folded(x, [7, 9])


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_except(["resnet18"], ["resnet18", "mobilenet_v3_small"]))
def test_a_whole_model(name):
    model = trained(to_coordconv(torchvision.models.get_model(name), "all"))
    x = torch.randn(2, 3, 64, 48)
    state, version = copy.deepcopy(model.state_dict()), [p._version for p in model.parameters()]
    folded = fold_coordconv(model, x)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in state.items())
    assert [p._version for p in model.parameters()] == version
    assert model.training
    assert folded.training
    assert not coordconv_layers(folded)
    with torch.inference_mode():
        torch.testing.assert_close(folded.eval()(x), model.eval()(x), rtol=1e-4, atol=1e-4)
    reloaded = copy.deepcopy(folded)
    reloaded.load_state_dict(folded.state_dict(), strict=True)


@pytest.mark.slow
def test_a_head_that_is_shared_between_levels():
    """torchvision's region proposal head runs on every level of the pyramid."""
    kwargs = {"weights": None, "weights_backbone": None, "num_classes": 3, "min_size": 64, "max_size": 96}
    model = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_320_fpn(**kwargs).eval()
    to_coordconv(model, ["rpn.head.*", "backbone.fpn.*"])
    trained(model)
    image = torch.rand(3, 64, 64)
    folded = fold_coordconv(model, ([image],))
    assert not coordconv_layers(folded)
    head = folded.rpn.head.cls_logits
    assert len(head.folded_sizes) > 1
    features = model.backbone(image[None])
    for feature in features.values():
        expected = model.rpn.head.cls_logits(feature)
        torch.testing.assert_close(head(feature), expected)


class TestErrors:
    def test_a_second_size(self):
        folded = fold_coordconv(nn.Sequential(CoordConv2d(3, 4, 3)), torch.randn(1, 3, 32, 30))
        match = r"FoldedConv2d was folded for inputs of 32x30, but got 64x60; fold the unfolded model again"
        with pytest.raises(ValueError, match=match):
            folded(torch.randn(1, 3, 64, 60))

    def test_no_layers(self):
        with pytest.raises(ValueError, match=r"reaches no CoordConv layer of Linear, which has \[\]"):
            fold_coordconv(nn.Linear(2, 2), torch.randn(1, 2))

    def test_no_layers_reached(self):
        net = nn.Identity()
        net.unused = CoordConv2d(1, 1, 1)
        with pytest.raises(ValueError, match=r"reaches no CoordConv layer of Identity, which has \['unused'\]"):
            fold_coordconv(net, torch.randn(1, 1, 2, 2))

    def test_frames(self):
        layer, x = CoordConv2d(3, 4, 3), torch.randn(1, 3, 8, 8)
        folded = fold_coordconv(layer, x)
        with coordinate_frame((0, 0), (16, 16), crop=(8, 8)):
            with pytest.raises(ValueError, match="cannot be folded inside a coordinate frame"):
                fold_coordconv(layer, x)
            with pytest.raises(ValueError, match="FoldedConv2d cannot follow a coordinate frame"):
                folded(x)

    @pytest.mark.parametrize("dilation", [1, 2])
    def test_a_layer_that_changes_between_two_calls(self, dilation):
        class Twice(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = CoordConv2d(3, 4, 3, padding=1)

            def forward(self, x):
                outputs = []
                for step in (1, dilation):
                    self.layer.dilation = self.layer.padding = (step, step)
                    outputs.append(self.layer(x))
                return sum(outputs)

        net, x = trained(Twice()), torch.randn(1, 3, 8, 8)
        if dilation == 1:
            torch.testing.assert_close(fold_coordconv(net, x)(x), net(x), rtol=1e-4, atol=1e-5)
            return
        with pytest.raises(ValueError, match="changes the weights, the geometry or the dtype of a CoordConv2d between"):
            fold_coordconv(net, x)

    def test_a_layer_that_runs_in_two_dtypes(self):
        class Twice(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = CoordConv2d(3, 4, 3, padding=1)

            def forward(self, x):
                with torch.autocast("cpu", torch.bfloat16):
                    half = self.layer(x)
                return half + self.layer(x)

        with pytest.raises(ValueError, match="changes the weights, the geometry or the dtype of a CoordConv2d between"):
            fold_coordconv(trained(Twice()), torch.randn(1, 3, 8, 8))

    def test_a_users_subclass(self):
        class Mine(CoordConv2d):
            pass

        with pytest.raises(ValueError, match=r"'0' is a .*Mine, which cannot be folded"):
            fold_coordconv(nn.Sequential(Mine(1, 1, 1)), torch.randn(1, 1, 2, 2))


def test_layers_that_the_example_does_not_reach_stay():
    net = nn.Sequential(CoordConv2d(1, 1, 1))
    net[0].unused = CoordConv2d(1, 1, 1)
    assert list(coordconv_layers(fold_coordconv(net, torch.randn(1, 1, 2, 2)))) == ["0.unused"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtype_and_memory_format(dtype):
    layer = CoordConv2d(3, 8, 3).to(dtype=dtype, memory_format=torch.channels_last)
    x = torch.randn(2, 3, 6, 7).to(dtype=dtype, memory_format=torch.channels_last)
    folded = fold_coordconv(layer, x)
    assert folded.coordinate_bias_6x7_to_4x5.dtype == dtype
    assert folded.coordinate_bias_6x7_to_4x5.is_contiguous(memory_format=torch.channels_last)
    assert folded(x).is_contiguous(memory_format=torch.channels_last)
    tolerance = 2e-2 if dtype == torch.bfloat16 else 1e-6
    torch.testing.assert_close(folded(x), layer(x), rtol=tolerance, atol=tolerance)


def test_autocast():
    layer, x = CoordConv2d(3, 8, 3), torch.randn(2, 3, 6, 7)
    with torch.autocast("cpu", torch.bfloat16):
        folded = fold_coordconv(layer, x)
        assert folded.coordinate_bias_6x7_to_4x5.dtype == folded(x).dtype == torch.bfloat16
        torch.testing.assert_close(folded(x), layer(x), rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(fold_coordconv(layer, x)(x), layer(x))


def test_folding_in_inference_mode_leaves_a_model_that_trains():
    layer, x = CoordConv2d(3, 4, 3), torch.randn(2, 3, 6, 7)
    with torch.inference_mode():
        folded = fold_coordconv(layer, x)
    folded(x).sum().backward()
    assert folded.weight.grad is not None


@pytest.mark.slow
def test_export():
    net = nn.Sequential(CoordConv2d(3, 4, 3, stride=2), nn.ReLU(), CoordConv2d(4, 2, 3))
    x = torch.randn(2, 3, 16, 14)
    folded = fold_coordconv(net, x)
    other = torch.randn(5, 3, 16, 14)
    program = torch.export.export(folded, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    torch.testing.assert_close(program.module()(other), net(other))
    torch.testing.assert_close(torch.compile(folded, fullgraph=True, backend="aot_eager")(other), net(other))


@pytest.mark.parametrize("size", [7, 9])
def test_a_state_dict_of_another_input_size_is_refused_though_outputs_are_alike(size):
    layer = CoordConv2d(1, 1, 3, stride=2, padding=1)
    first, second = (fold_coordconv(layer, torch.randn(1, 1, cells, cells)) for cells in (8, size))
    if size == 7:
        assert first(torch.randn(1, 1, 8, 8)).shape == second(torch.randn(1, 1, 7, 7)).shape
    with pytest.raises(RuntimeError, match=f"coordinate_bias_{size}x{size}_to"):
        second.load_state_dict(first.state_dict())


@pytest.mark.parametrize("change", [torch.Tensor.bfloat16, lambda out: out[..., 1:], lambda out: out[:, :1]])
def test_hooks_that_change_an_output_act_on_the_folded_layer(change):
    torch.manual_seed(0)
    layer = CoordConv2d(2, 3, kernel_size=3, padding=1)
    layer.register_forward_hook(lambda module, args, out: change(out))
    image = torch.rand(2, 2, 7, 8)
    folded = fold_coordconv(layer, image)
    (bias,) = (folded.get_buffer(name) for name in folded.folded_sizes)
    assert bias.dtype == torch.float32
    torch.testing.assert_close(folded(image), layer(image))
