"""Tests of the coordinate bias of a layer: values, repeated calls, dtypes, memory formats and changed geometry."""

import copy
import io
import itertools
import pickle

import pytest
import torch
from torch import nn

from lightning_coordconv.layers import (
    CoordConv1d,
    CoordConv2d,
    CoordConv3d,
    CoordConvTranspose2d,
    FourierFeatures,
    TiledCoordConv2d,
    coordinate_bias,
    coordinate_frame,
    to_coordconv,
)

from .oracle import expected

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


LAYERS = [
    lambda: CoordConv1d(2, 3, 5, stride=2, padding=2, dilation=2),
    lambda: CoordConv1d(2, 3, 4, stride=3),
    lambda: CoordConv2d(2, 3, 1),
    lambda: CoordConv2d(2, 3, (4, 3), stride=(3, 2), dilation=(1, 2)),
    lambda: CoordConv2d(2, 3, (7, 4), stride=2, padding=(3, 0)),
    lambda: CoordConv2d(2, 3, 4, padding="same", dilation=(1, 2)),
    lambda: CoordConv2d(2, 3, 3, padding=1, padding_mode="reflect"),
    lambda: CoordConv2d(2, 3, 3, padding=(2, 1), padding_mode="circular", bias=False),
    lambda: CoordConv3d(2, 3, (3, 2, 1), padding=(1, 1, 0), stride=(1, 2, 1)),
    lambda: CoordConv3d(2, 3, 2),
    lambda: CoordConvTranspose2d(2, 3, (3, 4), stride=(2, 3), padding=(0, 1), output_padding=(1, 0), dilation=(1, 2)),
]


@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel:UserWarning")
@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("make", LAYERS)
def test_products_equal_a_convolution_of_the_grid(make, eager):
    """Values and gradients, on sizes down to one cell an axis."""
    torch.manual_seed(0)
    layer = make()
    n = len(layer.kernel_size)
    for sizes in [(11, 12, 9)[:n], (13, 8, 7)[:n], (12, 8, 1)[:n]]:
        if n == 3 and sizes[-1] == 1 and layer.kernel_size[-1] > 1:
            continue
        padding = layer.output_padding if layer.transposed else None
        wanted = coordinate_bias.convolve_coordinates(layer, layer.coord_weight, sizes, padding)
        actual = coordinate_bias.coordinate_bias(layer, layer.coord_weight, sizes, wanted.shape[-n:], padding, eager)
        torch.testing.assert_close(actual, wanted, rtol=1e-5, atol=1e-5)
        weights = torch.randn_like(wanted)
        torch.testing.assert_close(
            *(torch.autograd.grad(value, layer.coord_weight, weights)[0] for value in (actual, wanted)), **CLOSE
        )


class TestBias:
    """The layer's bias is added once, and has the gradient of a plain convolution."""

    def test_a_converted_layer_rounds_as_the_plain_one(self):
        conv, x = nn.Conv2d(3, 4, 3, padding=1), torch.randn(2, 3, 6, 6)
        layer = to_coordconv(nn.Sequential(copy.deepcopy(conv)), "all")
        assert torch.equal(layer(x), conv(x))

    @pytest.mark.parametrize("frozen", list(itertools.product([False, True], repeat=3)))
    def test_gradient(self, frozen):
        layer, x = CoordConv2d(3, 4, 3, padding=1), torch.randn(2, 3, 6, 5)
        plain = nn.Conv2d(3, 4, 3, padding=1)
        plain.load_state_dict({"weight": layer.weight.detach(), "bias": layer.bias.detach()})
        weights = torch.randn(2, 4, 6, 5)
        for module in (layer, plain):
            for p, freeze in zip((module.weight, module.bias), frozen, strict=False):
                p.requires_grad_(not freeze)
        layer.coord_weight.requires_grad_(not frozen[2])
        inputs = x.clone().requires_grad_()
        (layer(inputs) * weights).sum().backward()
        (plain(x) * weights).sum().backward() if not all(frozen[:2]) else None
        for name, p in plain.named_parameters():
            own = getattr(layer, name).grad
            assert (own is None) == (p.grad is None) == (not p.requires_grad)
            if own is not None:
                torch.testing.assert_close(own, p.grad, **CLOSE)
        assert (layer.coord_weight.grad is None) == frozen[2]


class TestRepeatedCalls:
    """What one call leaves behind never changes the result of another."""

    def check(self, layer, x):
        with torch.no_grad():
            torch.testing.assert_close(layer(x).double(), expected(layer, x), **CLOSE)

    @pytest.mark.parametrize("with_r", [False, True])
    def test_weights_that_change(self, with_r):
        layer, x = CoordConv2d(3, 4, 3, padding=1, with_r=with_r), torch.randn(2, 3, 6, 5)
        other = CoordConv2d(3, 4, 3, padding=1, with_r=with_r)
        self.check(layer, x)
        layer.coord_weight.data.mul_(0.5)  # which the version counter does not see
        self.check(layer, x)
        layer.coord_weight.detach().numpy()[:] += 1
        self.check(layer, x)
        layer.load_state_dict(other.state_dict())
        self.check(layer, x)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        layer(x).square().sum().backward()
        optimizer.step()
        self.check(layer, x)
        layer.coord_weight = nn.Parameter(torch.randn_like(layer.coord_weight))
        self.check(layer, x)

    def test_calls_that_differ(self):
        layer, x = CoordConv2d(3, 4, 3, padding=1), torch.randn(2, 3, 6, 5)
        for y in (x, x[0], x[:, :, :, 1:], x.to(memory_format=torch.channels_last), x[:1], x):
            self.check(layer, y)
        layer.stride = (2, 1)
        self.check(layer, x)
        with coordinate_frame((2, 2), (20, 20), crop=(6, 5)), torch.no_grad():
            inside = layer(x)
        assert not torch.allclose(inside, layer(x), rtol=1e-2)
        self.check(layer, x)
        up = CoordConvTranspose2d(3, 4, 3, stride=2)
        with torch.no_grad():
            sizes = [up(x, output_size=size).shape[-2:] for size in [(13, 11), (14, 12), (13, 11)]]
        assert sizes == [(13, 11), (14, 12), (13, 11)]

    def test_dtypes(self):
        layer, x = CoordConv2d(3, 4, 3, padding=1), torch.randn(2, 3, 6, 5)
        self.check(layer, x)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            assert layer(x).dtype == torch.bfloat16
        self.check(layer, x)
        self.check(layer.double(), x.double())

    @pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel:UserWarning")
    def test_training_after_inference_mode(self):
        for make in LAYERS:
            layer = make()
            x = torch.randn(2, 2, *(10, 9, 4)[: len(layer.kernel_size)])
            with torch.inference_mode():
                before = layer(x)
            out = layer(x)
            out.square().sum().backward()
            torch.testing.assert_close(out, before, **CLOSE)
            layer.requires_grad_(False)
            layer(x.requires_grad_()).square().sum().backward()
        with torch.inference_mode():
            born = CoordConv2d(3, 4, 3)
            x = torch.randn(2, 3, 6, 5)
            assert torch.equal(born(x), born(x))

    def test_the_output_is_the_callers(self):
        layer, x = CoordConv2d(3, 4, 1), torch.randn(1, 3, 6, 5)
        with torch.no_grad():
            first = layer(x)
            kept = first.clone()
            first.zero_()
            assert torch.equal(layer(x), kept)

    def test_leaves_no_trace_in_the_layer(self):
        layer, x = CoordConv2d(3, 4, 3), torch.randn(2, 3, 6, 5)
        size, attributes = len(pickle.dumps(layer)), set(vars(layer))
        layer(x).sum().backward()
        layer.zero_grad(set_to_none=True)
        assert set(vars(layer)) == attributes
        assert len(pickle.dumps(layer)) == size
        torch.save(layer, io.BytesIO())

    def test_weights_that_change_between_two_parts_of_a_call(self, monkeypatch):
        """Nothing that depends on a weight is kept, so no other thread's update can be paired with an old value."""
        layer, x = CoordConv2d(1, 2, 3, padding=1).requires_grad_(False), torch.zeros(1, 1, 6, 6)
        real = coordinate_bias.coordinate_bias

        def update_after(layer, *args):
            out = real(layer, *args)
            layer.coord_weight.add_(1.0)
            return out

        monkeypatch.setattr(coordinate_bias, "coordinate_bias", update_after)
        layer(x)
        monkeypatch.undo()
        torch.testing.assert_close(layer(x), copy.deepcopy(layer)(x))

    def test_encodings_are_asked_each_time(self):
        layer, x = CoordConv2d(3, 4, 3, encoding=FourierFeatures(2)), torch.randn(2, 3, 6, 5)
        with torch.no_grad():
            before = layer(x)
            layer.encoding.include_coordinates, layer.encoding.num_frequencies = False, 2
            layer.coord_weight = nn.Parameter(layer.coord_weight[:, 2:])
            assert not torch.allclose(layer(x), before, rtol=1e-2)


@pytest.mark.parametrize("batch", [1, 3])
def test_memory_formats(batch):
    layer = CoordConv2d(3, 4, 3, padding=1).to(memory_format=torch.channels_last)
    x = torch.randn(batch, 3, 6, 5).to(memory_format=torch.channels_last).requires_grad_()
    out = layer(x)
    assert out.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(out.double(), expected(layer, x), **CLOSE)
    out.square().sum().backward()
    grads = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    layer(x.detach().contiguous()).square().sum().backward()
    for p, grad in zip(layer.parameters(), grads, strict=True):
        torch.testing.assert_close(p.grad, grad, **CLOSE)


class TestChangedGeometry:
    """Attributes are read when they are used: segmentation networks dilate their backbones after construction."""

    @pytest.mark.parametrize(
        "change",
        [
            {"dilation": (2, 2), "padding": (2, 2), "stride": (1, 1)},
            {"dilation": 2, "padding": 2},
            {"stride": 2},
            {"dilation": [2, 1], "padding": [0, 3], "stride": [1, 2]},
            {"padding": "valid"},
            {"padding": "same"},
        ],
    )
    @pytest.mark.parametrize("kernel", [1, 3])
    @pytest.mark.parametrize("with_r", [False, True])
    def test_equals_a_layer_built_so(self, change, kernel, with_r):
        plain = nn.Conv2d(2, 3, kernel, padding=kernel // 2)
        x = torch.randn(2, 2, 9, 8)
        for name, value in change.items():
            setattr(plain, name, value)
        layer = to_coordconv(copy.deepcopy(plain), with_r=with_r)
        assert torch.equal(layer(x), plain(x))
        nn.init.normal_(layer.coord_weight)
        as_tuples = {name: tuple(value) if isinstance(value, list) else value for name, value in change.items()}
        built = CoordConv2d(2, 3, kernel, **{"padding": kernel // 2} | as_tuples, with_r=with_r)
        built.load_state_dict(layer.state_dict())
        with torch.no_grad():
            torch.testing.assert_close(layer(x).double(), expected(built, x), **CLOSE)
        torch.testing.assert_close(layer(x).double(), expected(built, x), **CLOSE)

    @pytest.mark.parametrize("mode", ["reflect", "circular"])
    def test_the_padding_that_torch_ignores_is_ignored_for_coordinates_too(self, mode):
        """Where the padding mode is not zeros, torch uses the padding of the constructor."""
        plain, x = nn.Conv2d(2, 3, 3, padding=1, padding_mode=mode), torch.randn(1, 2, 6, 5)
        plain.padding = (2, 2)
        layer = to_coordconv(copy.deepcopy(plain))
        assert torch.equal(layer(x), plain(x))
        nn.init.normal_(layer.coord_weight)
        layer.padding = (1, 1)
        torch.testing.assert_close(layer(x).double(), expected(layer, x), **CLOSE)

    def test_of_transposed_layers(self):
        layer, x = CoordConvTranspose2d(2, 3, 3), torch.randn(1, 2, 5, 4)
        layer(x)
        layer.stride, layer.padding, layer.output_padding = (2, 2), (1, 1), (1, 0)
        torch.testing.assert_close(layer(x).double(), expected(layer, x), **CLOSE)


@pytest.mark.parametrize(
    ("layer", "x", "name", "cut"),
    [
        (CoordConv2d(3, 4, 3, padding=1), torch.rand(1, 3, 8, 8), "coord_weight", lambda weight: weight[:1]),
        (CoordConv2d(3, 4, 3, padding=1), torch.rand(3, 8, 8), "coord_weight", lambda weight: weight[:1]),
        (CoordConv2d(3, 4, 5), torch.rand(1, 3, 5, 5), "weight", lambda weight: weight[:, :, 1:4, 1:4]),
        (CoordConvTranspose2d(3, 4, 2), torch.rand(1, 3, 8, 8), "coord_weight", lambda weight: weight[:, :1]),
        (CoordConv1d(3, 4, 1), torch.rand(2, 3, 8), "coord_weight", lambda weight: weight[:1]),
        (TiledCoordConv2d(3, 4, 8), torch.rand(2, 3), "coord_weight", lambda weight: weight[:1]),
    ],
)
def test_a_coordinate_bias_is_never_broadcast_over_channels_or_cells(layer, x, name, cut):
    """As after channel pruning that knows of one weight only."""
    layer(x)
    setattr(layer, name, nn.Parameter(cut(getattr(layer, name).detach())))
    with pytest.raises(ValueError, match="must be cut out of coord_weight too"):
        layer(x)
