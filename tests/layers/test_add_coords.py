"""Tests of AddCoords, which appends coordinate channels: values, dtypes, memory format, gradients, and refusals."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from lightning_coordconv.layers import (
    AddCoords,
    CoordConv2d,
)
from lightning_coordconv.layers.coords import coordinate_axes
from tests.layers.test_coords import QUICK

from .oracle import coordinates


class TestAddCoords:
    @QUICK
    @given(
        sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3),
        with_r=st.booleans(),
        batch=st.sampled_from([None, 2]),
    )
    def test_concatenates(self, sizes, with_r, batch):
        n = len(sizes)
        x = torch.randn(*(() if batch is None else (batch,)), 3, *sizes)
        out = AddCoords(n, with_r=with_r)(x)
        assert torch.equal(out.narrow(-n - 1, 0, 3), x)
        wanted = coordinates(sizes, with_r).expand(*x.shape[: -n - 1], -1, *sizes)
        torch.testing.assert_close(out.narrow(-n - 1, 3, n + with_r).double(), wanted, rtol=0, atol=1e-6)

    def test_bfloat16_is_rounded_once(self):
        out = AddCoords(1)(torch.zeros(1, 1, 1024, dtype=torch.bfloat16))
        assert out.dtype == torch.bfloat16
        assert torch.equal(out[0, 1], coordinate_axes([1024])[0].bfloat16())

    @pytest.mark.parametrize(("n", "memory_format"), [(2, torch.channels_last), (3, torch.channels_last_3d)])
    def test_channels_last_is_kept(self, n, memory_format):
        x = torch.randn(2, 3, *(4,) * n)
        assert AddCoords(n)(x.to(memory_format=memory_format)).is_contiguous(memory_format=memory_format)
        assert AddCoords(n)(x).is_contiguous()

    def test_gradient(self):
        x = torch.randn(2, 3, 4, 4, requires_grad=True)
        AddCoords()(x).sum().backward()
        assert torch.equal(x.grad, torch.ones_like(x))

    def test_errors(self):
        with pytest.raises(ValueError, match="num_axes must be at least 1, but got 0"):
            AddCoords(0)
        with pytest.raises(TypeError, match=r"AddCoords expects a floating-point input, but got torch.int32"):
            AddCoords()(torch.zeros(1, 1, 2, 2, dtype=torch.int32))
        with pytest.raises(ValueError, match=r"AddCoords expects .* 4 dimensions .* of 3, but got shape \(2, 2\)"):
            AddCoords()(torch.zeros(2, 2))

    def test_repr(self):
        assert repr(AddCoords(3, with_r=True)) == "AddCoords(num_axes=3, with_r=True)"
        assert repr(AddCoords()) == "AddCoords(num_axes=2)"


@pytest.mark.parametrize("with_r", [2, "no", None, 0.5])
def test_with_r_is_a_bool(with_r):
    for build in (lambda: CoordConv2d(3, 4, 3, with_r=with_r), lambda: AddCoords(with_r=with_r)):
        with pytest.raises(TypeError, match="with_r must be True or False, but got"):
            build()
