"""Tests that padding with zeros is replaced, whatever module or function of torch pads."""

import copy

import pytest
import torch
from timm.layers import Conv2dSame, StdConv2d
from torch import nn
from torch.nn import functional as F

from lightning_coordconv import CoordConv2d
from lightning_coordconv.position.padding import padded_with


class Functional(nn.Module):
    def forward(self, x):
        return F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 1)


class Mapped(nn.Module):
    """A convolution whose class computes by a forward method of its own."""

    def __init__(self):
        super().__init__()
        self.conv = StdConv2d(4, 4, 3, padding=1)

    def forward(self, x):
        return self.conv(x)


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Conv2d(4, 4, (3, 5), padding="same", dilation=(2, 1)),
        StdConv2d(4, 4, 3, padding=1),
        Conv2dSame(4, 4, 3),
        nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(4, 4, 3)),
        nn.AvgPool2d(3, stride=1, padding=1),
        nn.MaxPool2d(3, stride=1, padding=(1, 1)),
        Functional(),
        Mapped(),
    ],
    ids=lambda module: type(module).__name__,
)
def test_a_shifted_map_has_a_shifted_output(module):
    """With circular padding every stride-1 layer commutes with a cyclic shift; with zeros it does not."""
    torch.manual_seed(0)
    x = torch.rand(2, 4, 12, 12) + 0.5
    moved = x.roll((3, 5), (2, 3))

    def difference():
        return (module(moved) - module(x).roll((3, 5), (2, 3))).abs().max().item()

    if not isinstance(module, nn.MaxPool2d | Functional):  # a maximum of positive numbers sees no zeros
        assert difference() > 1e-3
    with padded_with(module, "circular"):
        assert difference() < 1e-5


def test_the_model_is_left_as_it_was():
    module, x = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), StdConv2d(4, 4, 3, padding=1)), torch.rand(1, 4, 8, 8)
    before = module(x)
    with pytest.raises(RuntimeError), padded_with(module, "replicate"):
        module(torch.rand(1, 5, 8, 8))
    assert torch.equal(module(x), before)
    assert module[0].padding_mode == "zeros"


def test_coordinates_are_padded_in_the_same_way():
    torch.manual_seed(0)
    layer, x = CoordConv2d(4, 4, 3, padding=1), torch.rand(1, 4, 8, 8)
    wanted = copy.deepcopy(layer)
    wanted.padding_mode = "replicate"
    with padded_with(layer, "replicate"):
        torch.testing.assert_close(layer(x), wanted(x))


def test_other_padding_stays():
    x = torch.rand(1, 2, 4, 4)
    with padded_with(nn.Identity(), "circular"):
        assert torch.equal(F.pad(x, (1, 1, 1, 1), value=2.0), F.pad(x, (1, 1, 1, 1), mode="constant", value=2.0))
        assert F.pad(x, (1, 1, 1, 1), value=2.0)[0, 0, 0, 0] == 2
        assert torch.equal(F.pad(x, (-1, -1, -1, -1)), x[..., 1:-1, 1:-1])
        assert torch.equal(F.conv2d(x, torch.ones(1, 2, 1, 1), padding="valid"), x.sum(1, keepdim=True))
