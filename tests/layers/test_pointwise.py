"""Folded 1x1 convolutions, computed as matrix products where that pays."""

import pytest
import torch

from lightning_coordconv.layers import CoordConv1d, CoordConv2d, CoordConv3d, fold, fold_coordconv

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture
def products(monkeypatch):
    """How often a product was computed."""
    calls = []
    product = fold.pointwise_product
    monkeypatch.setattr(fold, "pointwise_product", lambda *args: calls.append(args) or product(*args))
    return calls


@pytest.mark.parametrize("kind", [CoordConv1d, CoordConv2d, CoordConv3d])
@pytest.mark.parametrize("bias", [True, False])
def test_equals_the_layer(kind, bias, products):
    layer = kind(3, 5, 1, bias=bias, with_r=True)
    sizes = (6, 5, 4)[: len(layer.kernel_size)]
    x = torch.randn(2, 3, *sizes)
    folded = fold_coordconv(layer, x)
    with torch.no_grad():
        for batch in (2, 1, 4):
            x = torch.randn(batch, 3, *sizes)
            torch.testing.assert_close(folded(x), layer(x), **CLOSE)
        assert len(products) == 3
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
    folded = fold_coordconv(layer, x)
    torch.testing.assert_close(folded(x), layer(x), **CLOSE)
    with torch.no_grad():
        last = x.to(memory_format=torch.channels_last)
        assert folded(last).is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(folded(last), layer(x), **CLOSE)
        torch.testing.assert_close(folded(x[0]), layer(x[0]), **CLOSE)
        with torch.autocast("cpu", torch.bfloat16):
            assert folded(x).dtype == torch.bfloat16
        assert torch.compile(folded, fullgraph=True, backend="eager")(x).shape == (2, 4, 6, 5)
    assert not products
