"""Tests of the six CoordConv layers: torch's arguments, initialisation, dtypes, checkpoints, and errors."""

import inspect
import math

import pytest
import torch
from torch import nn

from lightning_coordconv.layers import (
    CoordConv1d,
    CoordConv2d,
    CoordConv3d,
    CoordConvTranspose1d,
    CoordConvTranspose2d,
    CoordConvTranspose3d,
    FourierFeatures,
)

from .oracle import concat_conv, coordinates, expected

TORCH = {
    CoordConv1d: nn.Conv1d,
    CoordConv2d: nn.Conv2d,
    CoordConv3d: nn.Conv3d,
    CoordConvTranspose1d: nn.ConvTranspose1d,
    CoordConvTranspose2d: nn.ConvTranspose2d,
    CoordConvTranspose3d: nn.ConvTranspose3d,
}


@pytest.mark.parametrize("layer_class", TORCH)
def test_is_the_torch_class(layer_class):
    torch_class = TORCH[layer_class]
    theirs = inspect.signature(torch_class).parameters
    ours = inspect.signature(layer_class).parameters
    assert list(ours) == [*theirs, "with_r", "encoding"]
    assert all(ours[name].default == theirs[name].default for name in theirs)
    assert all(ours[name].kind == inspect.Parameter.KEYWORD_ONLY for name in ("with_r", "encoding"))
    layer, plain = layer_class(4, 6, 3), torch_class(4, 6, 3)
    assert isinstance(layer, torch_class)
    assert layer.in_channels == 4
    assert layer.weight.shape == plain.weight.shape
    assert layer.bias.shape == plain.bias.shape
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias", "coord_weight"]
    n = len(layer.kernel_size)
    assert layer.coord_weight.shape == ((n, 6) if layer.transposed else (6, n)) + (3,) * n
    assert not list(layer.children())


@pytest.mark.parametrize("layer_class", TORCH)
def test_takes_all_torch_arguments_by_position(layer_class):
    if "Transpose" in layer_class.__name__:
        layer = layer_class(4, 6, 3, 2, 1, 1, 2, False, 2, "zeros", "meta", torch.float64)
        assert (layer.output_padding[0], layer.dilation[0]) == (1, 2)
    else:
        layer = layer_class(4, 6, 3, 2, 1, 2, 2, False, "circular", "meta", torch.float64)
        assert (layer.dilation[0], layer.padding_mode) == (2, "circular")
    assert (layer.stride[0], layer.padding[0], layer.groups, layer.bias) == (2, 1, 2, None)
    assert all((p.device.type, p.dtype) == ("meta", torch.float64) for p in layer.parameters())


@pytest.mark.parametrize("layer_class", TORCH)
@pytest.mark.parametrize("groups", [1, 2])
def test_initialised_like_a_concatenation(layer_class, groups):
    """Uniform within 1 / sqrt(fan_in), where the coordinates count as inputs (torch: not in transposed layers)."""
    torch.manual_seed(0)
    n = int(layer_class.__name__[-2])
    layer = layer_class(8, 256, 3, groups=groups)
    fan_in = (256 // groups if layer.transposed else 8 // groups + n) * 3**n
    if groups == 1:
        plain = TORCH[layer_class](8 + n, 256, 3)
        assert fan_in == nn.init._calculate_fan_in_and_fan_out(plain.weight)[0]
    bound = 1 / math.sqrt(fan_in)
    for parameter in layer.parameters():
        assert parameter.abs().max() <= bound
        assert parameter.abs().max() > 0.9 * bound
        assert parameter.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.15)
        assert parameter.mean().abs() < 0.2 * bound


def test_reset_parameters_draws_everything_anew():
    layer = CoordConv2d(2, 4, 3)
    before = [p.detach().clone() for p in layer.parameters()]
    layer.reset_parameters()
    assert all((a != b).all() for a, b in zip(before, layer.parameters(), strict=True))


@pytest.mark.parametrize("layer_class", TORCH)
def test_one_cell_is_in_the_middle(layer_class):
    n = int(layer_class.__name__[-2])
    layer = layer_class(2, 3, 1, with_r=True)
    x = torch.randn(2, 2, *(1,) * n)
    torch.testing.assert_close(layer(x), TORCH[layer_class].forward(layer, x))


@pytest.mark.parametrize("output_size", [(9, 11), (10, 12), (2, 3, 10, 11)])
def test_output_size(output_size):
    layer = CoordConvTranspose2d(4, 3, 3, stride=2, padding=1)
    x = torch.randn(2, 4, 5, 6)
    out = layer(x, output_size=list(output_size))
    assert out.shape == (2, 3, *output_size[-2:])
    extra = [size - least for size, least in zip(output_size[-2:], (9, 11), strict=True)]
    torch.testing.assert_close(out.double(), expected(layer, x, output_padding=extra), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="requested an output size of"):
        layer(x, output_size=[11, 11])


@pytest.mark.slow
@pytest.mark.parametrize("layer", [CoordConv2d(2, 2, 2, stride=2, groups=2), CoordConvTranspose2d(2, 2, 2, groups=2)])
def test_gradcheck(layer):
    layer = layer.double()
    x = torch.randn(2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    params = dict(layer.named_parameters())

    def run(x, *values):
        return torch.func.functional_call(layer, dict(zip(params, values, strict=True)), x)

    assert torch.autograd.gradcheck(run, (x, *params.values()))
    assert torch.autograd.gradgradcheck(run, (x, *params.values()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layer_class", [CoordConv1d, CoordConv2d, CoordConvTranspose2d])
def test_half_precision_module(layer_class, dtype):
    layer = layer_class(3, 4, 3, with_r=True).to(dtype)
    x = torch.randn(2, 3, *(7, 9)[: len(layer.kernel_size)]).to(dtype)
    out = layer(x)
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), expected(layer, x), rtol=2e-2, atol=2e-2)
    out.sum().backward()
    assert all(p.grad.dtype == dtype for p in layer.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_never_rounds_coordinates(dtype, autocast):
    """The difference of neighbouring coordinates survives; in bfloat16 most of these 2,049 cells would coincide."""
    layer = CoordConv1d(1, 1, 2, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
        layer.coord_weight.copy_(torch.tensor([[[-1024.0, 1024.0]]]))
    x = torch.randn(1, 1, 2049)
    if autocast:
        with torch.autocast("cpu", dtype):
            out = layer(x)
    else:
        out = layer.to(dtype)(x.to(dtype))
    assert out.dtype == dtype
    torch.testing.assert_close(out, torch.ones_like(out), rtol=0, atol=1e-2)


def test_complex():
    layer = CoordConv2d(2, 3, 3, dtype=torch.complex64)
    x = torch.randn(1, 2, 5, 4, dtype=torch.complex64)
    params = [p.detach().to(torch.complex128) for p in (layer.weight, layer.coord_weight, layer.bias)]
    torch.testing.assert_close(layer(x).to(torch.complex128), concat_conv(x.to(torch.complex128), *params, layer))


@pytest.mark.parametrize("layer", [CoordConv2d(3, 8, 3, padding=1), CoordConvTranspose2d(3, 8, 3)])
def test_channels_last_is_kept(layer):
    layer = layer.to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 6, 7).to(memory_format=torch.channels_last)
    assert layer(x).is_contiguous(memory_format=torch.channels_last)


def test_encoding_replaces_the_coordinates():
    layer = CoordConv2d(3, 5, 3, padding=1, padding_mode="circular", encoding=FourierFeatures(2))
    assert layer.coord_weight.shape == (5, 10, 3, 3)
    i, j = torch.meshgrid(*(torch.linspace(-1, 1, n, dtype=torch.float64) for n in (4, 6)), indexing="ij")
    pi = math.pi
    angles = torch.stack([pi * i, pi * j, 2 * pi * i, 2 * pi * j])
    coords = torch.cat([torch.stack([i, j]), angles.sin(), angles.cos()])
    x = torch.randn(2, 3, 4, 6)
    torch.testing.assert_close(layer(x).double(), expected(layer, x, coords=coords), rtol=1e-4, atol=1e-5)


class TestCheckpoints:
    @pytest.mark.parametrize("layer_class", TORCH)
    @pytest.mark.parametrize("assign", [False, True])
    def test_plain(self, layer_class, assign):
        plain, layer = TORCH[layer_class](4, 6, 3, groups=2), layer_class(4, 6, 3, groups=2)
        state = plain.state_dict()
        layer.load_state_dict(state, strict=True, assign=assign)
        assert list(state) == ["weight", "bias"]
        x = torch.randn(2, 4, *(5,) * len(layer.kernel_size))
        assert torch.equal(layer(x), plain(x))
        assert isinstance(layer.coord_weight, nn.Parameter)

    @pytest.mark.parametrize("layer_class", TORCH)
    @pytest.mark.parametrize("with_r", [False, True])
    def test_concatenation(self, layer_class, with_r):
        layer = layer_class(4, 6, 3, with_r=with_r)
        n = len(layer.kernel_size)
        plain = TORCH[layer_class](4 + n + with_r, 6, 3)
        layer.load_state_dict(plain.state_dict(), strict=True)
        coords = coordinates((5, 4, 3)[:n], with_r).float()
        x = torch.randn(2, 4, *coords.shape[1:])
        both = torch.cat([x, coords.expand(2, *coords.shape)], dim=1)
        torch.testing.assert_close(layer(x), plain(both), rtol=1e-4, atol=1e-5)

    def test_its_own_round_trip_within_a_model(self):
        one, other = (nn.Sequential(nn.Conv2d(3, 4, 1), CoordConv2d(4, 4, 3), nn.BatchNorm2d(4)) for _ in range(2))
        other.load_state_dict(one.state_dict(), strict=True)
        x = torch.randn(2, 3, 5, 5)
        assert torch.equal(one(x), other(x))

    @pytest.mark.parametrize(
        ("plain", "layer"),
        [
            (nn.Conv2d(3, 6, 3), CoordConv2d(4, 6, 3)),
            (nn.Conv2d(4, 6, 5), CoordConv2d(4, 6, 3)),
            (nn.Conv2d(6, 6, 3, groups=2), CoordConv2d(4, 6, 3, groups=2)),
            (nn.Conv2d(6, 6, 3), CoordConv2d(4, 6, 3, with_r=True)),
        ],
    )
    def test_wrong_shapes_are_torchs_error(self, plain, layer):
        with pytest.raises(RuntimeError, match="size mismatch for weight"):
            layer.load_state_dict(plain.state_dict())

    def test_wrong_coordinates_are_torchs_error(self):
        with pytest.raises(RuntimeError, match="size mismatch for coord_weight"):
            CoordConv2d(4, 6, 3).load_state_dict(CoordConv2d(4, 6, 3, with_r=True).state_dict())

    def test_an_absent_layer_is_torchs_error(self):
        with pytest.raises(RuntimeError, match=r'Missing key.*"0.weight", "0.bias", "0.coord_weight"'):
            nn.Sequential(CoordConv2d(4, 6, 3)).load_state_dict({})


class TestErrors:
    @pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
    def test_integers(self, dtype):
        with pytest.raises(TypeError, match=rf"CoordConv2d expects a floating-point input, but got {dtype}"):
            CoordConv2d(1, 1, 1)(torch.ones(1, 1, 2, 2, dtype=dtype))

    @pytest.mark.parametrize("layer_class", TORCH)
    def test_rank(self, layer_class):
        n = int(layer_class.__name__[-2])
        match = rf"{layer_class.__name__} expects a batched input of {n + 2} dimensions or an unbatched one of {n + 1}"
        for shape in [(3,) * n, (3,) * (n + 3)]:
            with pytest.raises(ValueError, match=match + rf", but got shape \({', '.join(['3'] * len(shape))}"):
                layer_class(3, 1, 1)(torch.ones(shape))

    def test_channels_are_torchs_error(self):
        with pytest.raises(RuntimeError, match="to have 3 channels, but got 4 channels"):
            CoordConv2d(3, 1, 1)(torch.ones(1, 4, 2, 2))

    def test_constructor(self):
        with pytest.raises(ValueError, match=r"with_r=True and encoding=FourierFeatures\(.* exclude each other"):
            CoordConv2d(3, 1, 1, with_r=True, encoding=FourierFeatures())
        with pytest.raises(TypeError, match="encoding must be an instance of Encoding or None, but got 'polar'"):
            CoordConv2d(3, 1, 1, encoding="polar")
        with pytest.raises(TypeError, match="encoding must be an instance of Encoding or None, but got Identity"):
            CoordConv2d(3, 1, 1, encoding=nn.Identity())
        with pytest.raises(ValueError, match="groups"):
            CoordConv2d(3, 1, 1, groups=2)


def test_repr():
    assert (
        repr(CoordConv2d(3, 8, 3, padding=1)) == "CoordConv2d(3, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))"
    )
    assert repr(CoordConv1d(3, 8, 3, with_r=True)).endswith("stride=(1,), with_r=True)")
    assert "(encoding): FourierFeatures(num_frequencies=2" in repr(CoordConv2d(3, 8, 3, encoding=FourierFeatures(2)))
