"""1x1 convolutions, computed as matrix products where that pays."""

import pytest
import torch
from torch import nn

from lightning_coordconv.layers import (
    CoordConv1d,
    CoordConv2d,
    CoordConv3d,
    base,
    coordinate_frame,
    fold,
    fold_coordconv,
    to_coordconv,
)

from .oracle import concat_conv

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture
def products(monkeypatch):
    """How often a product was computed."""
    calls = []
    product = fold.pointwise_product
    for module in (fold, base):
        monkeypatch.setattr(module, "pointwise_product", lambda *args: calls.append(args) or product(*args))
    return calls


@pytest.mark.parametrize("kind", [CoordConv1d, CoordConv2d, CoordConv3d])
@pytest.mark.parametrize("bias", [True, False])
def test_equals_the_layer(kind, bias, products):
    layer = kind(3, 5, 1, bias=bias, with_r=True)
    sizes = (6, 5, 4)[: len(layer.kernel_size)]
    x = torch.randn(2, 3, *sizes)
    folded = fold_coordconv(layer, x)
    products.clear()
    with torch.no_grad():
        for batch in (2, 1, 4):
            x = torch.randn(batch, 3, *sizes)
            torch.testing.assert_close(folded(x), layer(x), **CLOSE)
        assert len(products) == 6
        with pytest.raises(ValueError, match="was folded for"):
            folded(torch.randn(2, 3, *(size + 1 for size in sizes)))


@pytest.mark.parametrize(
    "arguments",
    [(65, 4, 1), (4, 4, 3, 1, 1), (4, 4, 1, 2), (4, 4, 1, 1, 1), (4, 4, 1, 1, 0, 1, 2)],
    ids=["wide", "3x3", "strided", "padded", "grouped"],
)
def test_other_layers_are_convolutions(arguments, products):
    layer = CoordConv2d(*arguments)
    x = torch.randn(2, arguments[0], 6, 5)
    with torch.no_grad():
        torch.testing.assert_close(fold_coordconv(layer, x)(x), layer(x), **CLOSE)
    assert not products


def test_other_inputs_are_convolved(products):
    layer, x = CoordConv2d(3, 4, 1), torch.randn(2, 3, 6, 5)
    folded, whole = fold_coordconv(layer, x), layer(x)
    products.clear()
    with torch.no_grad():
        last = x.to(memory_format=torch.channels_last)
        for computed in (folded(last), layer(last)):
            assert computed.is_contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(computed, whole, **CLOSE)
        for computed in (folded(x[0]), layer(x[0])):
            torch.testing.assert_close(computed, whole[0], **CLOSE)
        with torch.autocast("cpu", torch.bfloat16):
            assert folded(x).dtype == torch.bfloat16
        assert torch.compile(folded, fullgraph=True, backend="eager")(x).shape == (2, 4, 6, 5)
    assert not products


@pytest.mark.parametrize("kind", [CoordConv1d, CoordConv2d, CoordConv3d])
@pytest.mark.parametrize("bias", [True, False])
def test_trains_as_the_definition_says(kind, bias, products):
    layer = kind(3, 5, 1, bias=bias)
    x = torch.randn(4, 3, *(6, 5, 4)[: len(layer.kernel_size)], requires_grad=True)
    parameters = [x, *layer.parameters()]
    weights = torch.randn(layer(x).shape)
    ours = [layer(x), *torch.autograd.grad((layer(x) * weights).sum(), parameters)]
    assert len(products) == 3
    double = [None if p is None else p.double() for p in (layer.weight, layer.coord_weight, layer.bias)]
    oracle = concat_conv(x.double(), *double, layer)
    theirs = [oracle, *torch.autograd.grad((oracle * weights).sum(), parameters)]
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other.float(), rtol=1e-4, atol=1e-4)


def test_follows_a_frame_of_each_sample(products):
    layer, image = CoordConv2d(2, 3, 1), torch.randn(1, 2, 12, 12)
    crops = torch.cat([image[..., :8, :8], image[..., 4:, 4:]])
    with coordinate_frame(torch.tensor([[0, 0], [4, 4]]), (12, 12), crop=(8, 8)):
        framed = layer(crops)
    whole = layer(image)
    torch.testing.assert_close(framed, torch.cat([whole[..., :8, :8], whole[..., 4:, 4:]]), **CLOSE)
    assert len(products) == 2


def test_a_converted_layer_stays_exact_until_it_learns(products):
    plain, x = nn.Conv2d(3, 4, 1), torch.randn(2, 3, 6, 5)
    before = plain(x)
    layer = to_coordconv(plain)
    assert torch.equal(layer(x), before)
    assert not products
    nn.init.ones_(layer.coord_weight)
    assert not torch.equal(layer(x), before)
    assert len(products) == 1
