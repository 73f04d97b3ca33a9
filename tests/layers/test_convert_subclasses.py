"""Tests of the conversion of subclasses of convolutions, such as timm's: outputs, compiling, copies, refusals."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame, ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame
from timm.layers.padding import pad_same
from torch import nn

from lightning_coordconv.layers import (
    CoordConv2d,
    fold_coordconv,
    from_coordconv,
    to_coordconv,
)

from .oracle import coordinates, expected


class TestSubclasses:
    """The coordinate bias is that of an ordinary convolution, added to whatever the subclass computes."""

    KINDS = (Conv2dSame, StdConv2d, StdConv2dSame, ScaledStdConv2d, ScaledStdConv2dSame)

    @staticmethod
    def expected(layer, plain, x):
        """The subclass's output, plus a convolution of the coordinates under the subclass's padding, by definition."""
        grid = coordinates(x.shape[2:]).float()[None]
        if getattr(plain, "same_pad", isinstance(plain, Conv2dSame)):
            grid = pad_same(grid, layer.kernel_size, layer.stride, layer.dilation)
        coords = F.conv2d(grid, layer.coord_weight, None, layer.stride, layer.padding, layer.dilation)
        return plain(x) + coords

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 2, 1), (4, 1, 2), (2, 3, 1)])
    @pytest.mark.parametrize("size", [(9, 8), (40, 43)])
    def test_output_and_gradient(self, kind, kernel, stride, dilation, size):
        torch.manual_seed(0)
        plain = kind(4, 6, kernel, stride=stride, dilation=dilation, bias=True)
        nn.init.normal_(plain.bias)
        layer = to_coordconv(copy.deepcopy(plain))
        x = torch.randn(2, 4, *size)
        assert torch.equal(layer(x), plain(x))
        assert isinstance(layer, CoordConv2d)
        assert isinstance(layer, kind)
        nn.init.normal_(layer.coord_weight)
        wanted = self.expected(layer, plain, x)
        weights = torch.randn_like(wanted)
        close = {"rtol": 1e-4, "atol": 1e-4}
        torch.testing.assert_close(layer(x), wanted, **close)
        ours = torch.autograd.grad((layer(x) * weights).sum(), layer.coord_weight)[0]
        theirs = torch.autograd.grad((wanted * weights).sum(), layer.coord_weight)[0]
        torch.testing.assert_close(ours, theirs, **close)
        folded = fold_coordconv(layer, x)
        assert isinstance(folded, kind)
        torch.testing.assert_close(folded(x), wanted, **close)

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", KINDS)
    def test_compiled(self, kind):
        torch._dynamo.reset()
        layer, x = to_coordconv(kind(4, 6, 3, stride=2)), torch.randn(2, 4, 9, 8)
        nn.init.normal_(layer.coord_weight)
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), layer(x), rtol=1e-4, atol=1e-5)
        torch._dynamo.reset()

    @pytest.mark.parametrize("kind", KINDS)
    def test_back_and_copies(self, kind):
        plain, x = kind(4, 6, 3, stride=2), torch.randn(2, 4, 9, 8)
        before = plain(x)
        layer = to_coordconv(plain)
        nn.init.normal_(layer.coord_weight)
        out = layer(x)
        folded = fold_coordconv(layer, x)
        for module in (layer, folded):
            for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
                assert type(other) is type(module)
                torch.testing.assert_close(other(x), out)
        plain_state = kind(4, 6, 3, stride=2).state_dict()
        layer.load_state_dict(plain_state, strict=True)
        assert not layer.coord_weight.any()
        nn.init.normal_(layer.coord_weight)
        assert type(from_coordconv(layer, discard=True)) is kind
        layer.load_state_dict(plain_state, strict=True)
        assert layer(x).shape == before.shape

    def test_a_subclass_without_a_forward(self):
        class Padded(nn.Conv2d):
            def __init__(self, *args):
                super().__init__(*args, padding=1)

        x = torch.randn(1, 2, 6, 5)
        layer = Padded(2, 3, 3)
        before = layer(x)
        to_coordconv(layer)
        assert torch.equal(layer(x), before)
        nn.init.ones_(layer.coord_weight)
        torch.testing.assert_close(layer(x).double(), expected(layer, x), rtol=1e-4, atol=1e-5)
        assert type(from_coordconv(layer, discard=True)) is Padded

    def test_a_subclass_with_another_convolution(self):
        class Own(nn.Conv2d):
            def _conv_forward(self, input, weight, bias):
                return super()._conv_forward(input.flip(-1), weight, bias)

        with pytest.raises(ValueError, match="its class overrides _conv_forward; leave it out"):
            to_coordconv(Own(2, 3, 3))
