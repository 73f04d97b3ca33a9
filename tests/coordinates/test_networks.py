"""Tests of the coordinate networks: the paper's numbers of weights, shapes and definitions, and wrong arguments."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from lightning_coordconv.coordinates.decoders import (
    CoordConvDecoder,
    CoordConvRenderer,
    DeconvDecoder,
    UpsampleDecoder,
)
from lightning_coordconv.coordinates.regressors import (
    CoordConvMaxRegressor,
    CoordConvRegressor,
    PoolingRegressor,
    StridedRegressor,
)
from lightning_coordconv.core.initialisation import he_normal_
from lightning_coordconv.layers import ConstantCoordinates, CoordConv2d


def weights(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


DECONV = {
    (2, 1): 46_465, (2, 2): 183_041, (2, 3): 409_729,
    (3, 1): 103_585, (3, 2): 409_921, (3, 3): 919_009,
    (4, 1): 183_553, (4, 2): 727_553, (4, 3): 1_632_001,
}  # fmt: skip


@pytest.mark.parametrize("size_and_mul", DECONV)
def test_deconvolution_has_the_papers_weights(size_and_mul):
    net = DeconvDecoder(*size_and_mul)
    assert weights(net) == DECONV[size_and_mul]
    assert net(torch.zeros(3, 2)).shape == (3, 64, 64)


def same_transposed_1d(signal: list[float], kernel: list[float]) -> list[float]:
    """TensorFlow's "same" transposed convolution of stride 2: the full one, cropped to twice the length."""
    full = np.zeros(2 * (len(signal) - 1) + len(kernel))
    for i, value in enumerate(signal):
        full[2 * i : 2 * i + len(kernel)] += value * np.array(kernel)
    front = (len(kernel) - 2) // 2
    return full[front : front + 2 * len(signal)].tolist()


@pytest.mark.parametrize("filter_size", [2, 3, 4, 5])
def test_deconvolution_is_cropped_as_tensorflow_does(filter_size):
    layer = DeconvDecoder(filter_size, 1).layers[0]
    rows, columns = torch.randn(filter_size), torch.randn(filter_size)
    with torch.no_grad():
        layer[0].weight[0, 0] = torch.outer(rows, columns)
        layer[0].weight[1].zero_()
    signal = torch.randn(4)
    image = torch.zeros(1, 2, 4, 4)
    image[0, 0] = torch.outer(signal, signal)
    expected = torch.outer(
        torch.tensor(same_transposed_1d(signal.tolist(), rows.tolist())),
        torch.tensor(same_transposed_1d(signal.tolist(), columns.tolist())),
    )
    torch.testing.assert_close(layer(image)[0, 0].double(), expected.double(), atol=1e-5, rtol=1e-5)


def test_upsampling_controls_have_the_authors_weights():
    assert weights(UpsampleDecoder(3, 1)) == 103_585
    assert weights(UpsampleDecoder(3, 1, coordinates=True)) == 108_211


@pytest.mark.parametrize("decoder", [DeconvDecoder, UpsampleDecoder])
def test_coordinates_add_two_channels_to_every_layer(decoder):
    plain, located = decoder(3, 1), decoder(3, 1, coordinates=True)
    kernels = [layer for layer in plain.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    assert weights(located) - weights(plain) == sum(2 * 9 * layer.out_channels for layer in kernels)
    assert located(torch.zeros(1, 2)).shape == (1, 64, 64)


@pytest.mark.parametrize("canvas", [16, 32, 128])
def test_decoders_of_other_canvases(canvas):
    assert DeconvDecoder(2, 1, canvas)(torch.zeros(2, 2)).shape == (2, canvas, canvas)


@pytest.mark.parametrize(
    ("net", "count"),
    [
        (CoordConvRegressor(), 906),
        (PoolingRegressor(1), 72_850),
        (PoolingRegressor(2), 159_330),
        (StridedRegressor(1), 12_914),
        (StridedRegressor(2), 49_890),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_regressors_have_the_papers_weights(net, count):
    assert weights(net) == count
    assert net(torch.zeros(2, 1, 64, 64)).shape == (2, 2)


def test_strided_regressor_ends_on_a_two_by_two_map():
    maps = []
    net = StridedRegressor()
    for layer in net:
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _, __, out: maps.append(tuple(out.shape[1:])))
    net(torch.zeros(2, 1, 64, 64))
    assert maps == [(16, 32, 32), (16, 32, 32), (16, 32, 32), (16, 16, 16), (16, 8, 8), (16, 4, 4), (16, 4, 4),
                    (16, 2, 2), (2, 2, 2)]  # fmt: skip


@pytest.mark.parametrize(
    ("net", "count"),
    [
        (CoordConvDecoder(), 7_553),
        (CoordConvDecoder(2), 29_441),
        (CoordConvDecoder(3), 65_665),
        (CoordConvDecoder(coordinates=False), 7_553),
    ],
)
def test_coordconv_decoder_has_the_papers_weights(net, count):
    assert weights(net) == count
    assert net(torch.zeros(2, 2)).shape == (2, 64, 64)


def test_coordconv_decoder_is_the_papers_concatenation():
    net = CoordConvDecoder(canvas=8)
    xy_scaled = torch.rand(3, 2)
    line = torch.linspace(-1, 1, 8)
    rows, columns = torch.meshgrid(line, line, indexing="ij")
    x = torch.cat(
        [xy_scaled[:, :, None, None].expand(-1, -1, 8, 8), torch.stack([rows, columns]).expand(3, -1, -1, -1)], 1
    )
    first = net[0]
    x = torch.conv2d(x, torch.cat([first.weight, first.coord_weight], 1), first.bias)
    for layer in list(net)[1:]:
        x = layer(x)
    torch.testing.assert_close(net(xy_scaled), x.squeeze(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "count"),
    [((1, 1), 8_074), ((1, 2), 9_490), ((2, 1), 9_490), ((2, 2), 15_010), ((3, 1), 11_850), ((3, 2), 24_210),
     ((4, 1), 15_154), ((4, 2), 37_090)],
)  # fmt: skip
def test_renderer_has_the_papers_weights(arguments, count):
    net = CoordConvRenderer(*arguments)
    assert weights(net) == count
    assert [logits.shape for logits in net(torch.zeros(2, 2))] == [(2, 64, 64)] * 2


def test_max_regressor_has_under_two_hundred_weights():
    net = CoordConvMaxRegressor()
    assert weights(net) == 194
    assert net(torch.zeros(2, 1, 64, 64)).shape == (2, 2)


def test_constant_coordinates_give_the_same_output_at_every_pixel():
    layer = CoordConv2d(1, 4, 1, encoding=ConstantCoordinates())
    maps = layer(torch.zeros(1, 1, 8, 8))
    assert maps.flatten(2).std(dim=2).max() < 1e-6


def test_he_normal_matches_its_definition():
    torch.manual_seed(0)
    for layer, fan_in in ((CoordConv2d(30, 200, 3), 32 * 9), (nn.ConvTranspose2d(30, 40, 3), 40 * 9)):
        he_normal_(layer)
        kernel = torch.cat([p.flatten() for name, p in layer.named_parameters() if "weight" in name])
        assert kernel.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=0.03)
        assert kernel.abs().max().item() <= 2 * math.sqrt(2 / fan_in) / 0.8796 + 1e-6
        assert layer.bias.abs().max() == 0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: DeconvDecoder(1), "filter_size must be at least 2, got 1"),
        (lambda: DeconvDecoder(canvas=48), "canvas must be a power of two, at least 16, got 48"),
        (lambda: UpsampleDecoder(canvas=8), "canvas must be a power of two, at least 16, got 8"),
        (lambda: PoolingRegressor(canvas=60), "canvas must be divisible by 8, got 60"),
    ],
)
def test_wrong_arguments_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
