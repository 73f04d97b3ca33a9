"""Tests that TiledCoordConv2d equals a 1x1 CoordConv2d over a tiled vector; encodings, state dict, shapes, frames."""

import pytest
import torch

from lightning_coordconv.layers import FourierFeatures, TiledCoordConv2d, coordinate_frame

from .oracle import concat_conv


@pytest.mark.parametrize("options", [{}, {"with_r": True}, {"bias": False}])
@pytest.mark.parametrize("size", [(5, 7), (1, 4), 6])
def test_equals_the_definition(options, size):
    layer = TiledCoordConv2d(3, 8, size, **options)
    vector = torch.randn(4, 3, requires_grad=True)
    height, width = (size, size) if isinstance(size, int) else size
    tiled = vector.double()[:, :, None, None].expand(-1, -1, height, width)
    parameters = [vector, *layer.parameters()]
    double = [None if p is None else p.double() for p in (layer.weight, layer.coord_weight, layer.bias)]
    weights = torch.randn(4, 8, height, width)
    results = []
    for computed in (layer(vector), concat_conv(tiled, *double, layer)):
        gradients = torch.autograd.grad((computed * weights).sum(), parameters)
        results.append([computed.float(), *gradients])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_takes_encodings_and_keeps_the_layout_of_what_follows():
    painted = TiledCoordConv2d(3, 8, 6, encoding=FourierFeatures(2))(torch.randn(4, 3))
    assert painted.is_contiguous(memory_format=torch.channels_last)


def test_shares_its_state_dict_with_the_convolution():
    layer = TiledCoordConv2d(3, 8, 6)
    assert {name: tuple(value.shape) for name, value in layer.state_dict().items()} == {
        "weight": (8, 3, 1, 1),
        "bias": (8,),
        "coord_weight": (8, 2, 1, 1),
    }
    assert "3, 8, size=(6, 6)" in repr(layer)


@pytest.mark.parametrize("shape", [(4, 2), (3,), (4, 3, 1, 1)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=rf"expected vectors \(B, 3\), got shape \({shape[0]},"):
        TiledCoordConv2d(3, 8, 6)(torch.randn(shape))


def test_each_sample_may_have_another_frame():
    layer = TiledCoordConv2d(3, 8, 6)
    vector = torch.randn(2, 3)
    with coordinate_frame(origin=torch.tensor([[0.0, 0.0], [3.0, 2.0]]), size=(12, 12), crop=(6, 6)):
        both = layer(vector)
        gradient = torch.autograd.grad((both[1] * both[1].detach()).sum(), layer.coord_weight)[0]
    with coordinate_frame(origin=(3, 2), size=(12, 12), crop=(6, 6)):
        single = layer(vector[1:])
        expected = torch.autograd.grad((single[0] * single[0].detach()).sum(), layer.coord_weight)[0]
    torch.testing.assert_close(both[1:], single)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-4)
