"""Tests of how many operators a training step of a CoordConv layer dispatches, and that none reads the device."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_coordconv.layers import (
    CoordConv2d,
    FourierFeatures,
)


class CountOperators(TorchDispatchMode):
    """Counts the operators that reach the dispatcher."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def operators_of_a_step(layer, x):
    gradient = torch.randn_like(layer(x))
    x.grad = None
    layer.zero_grad()
    with CountOperators() as count:
        layer(x).backward(gradient)
    return count.names


class TestOperators:
    """What a launch-bound device pays for: operators of a training step, and reads that make the host wait."""

    @pytest.mark.parametrize("padding", [0, 1])
    def test_count(self, padding):
        """The bar is 17."""
        x = torch.randn(2, 8, 8, 8, requires_grad=True)
        assert len(operators_of_a_step(nn.Conv2d(8, 8, 3, padding=padding), x)) == 5
        assert len(operators_of_a_step(CoordConv2d(8, 8, 3, padding=padding), x)) <= 10

    def test_count_on_large_maps(self):
        x = torch.randn(4, 3, 64, 64, requires_grad=True)
        assert len(operators_of_a_step(CoordConv2d(3, 8, 7, stride=2, padding=3), x)) <= 40

    @pytest.mark.parametrize(
        "options", [{}, {"with_r": True}, {"encoding": FourierFeatures(2)}, {"padding_mode": "reflect"}]
    )
    @pytest.mark.parametrize("size", [8, 80])
    def test_nothing_is_read_back(self, options, size):
        layer = CoordConv2d(3, 4, 3, padding=1, **options)
        x = torch.randn(2, 3, size, size, requires_grad=True)
        names = operators_of_a_step(layer, x)
        with torch.no_grad(), CountOperators() as count:
            layer(x)
        reads = ("_local_scalar_dense", "item", "nonzero", "equal", "is_nonzero", "_to_copy")
        assert not [name for name in names + count.names if any(f"aten.{read}." in name for read in reads)]
