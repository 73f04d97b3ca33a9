"""Tests that CoordConv layers with any arguments compute, with gradients, what a concatenation and a convolution do."""

import hypothesis.strategies as st
import torch
from hypothesis import HealthCheck, given, settings

from lightning_coordconv.layers import (
    CoordConv1d,
    CoordConv2d,
    CoordConv3d,
    CoordConvTranspose1d,
    CoordConvTranspose2d,
    CoordConvTranspose3d,
)

from .oracle import concat_conv

CONVS = {1: CoordConv1d, 2: CoordConv2d, 3: CoordConv3d}
TRANSPOSED = {1: CoordConvTranspose1d, 2: CoordConvTranspose2d, 3: CoordConvTranspose3d}
FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


@st.composite
def channels(draw):
    """(in, out, groups), with dense, grouped and depthwise convolutions all likely."""
    groups = draw(st.integers(1, 3))
    return groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2)), groups


def axes(draw, n, low, high):
    return tuple(draw(st.integers(low, high)) for _ in range(n))


@st.composite
def conv_cases(draw):
    """A convolution and an input size on which torch can compute it."""
    n = draw(st.integers(1, 3))
    c_in, c_out, groups = draw(channels())
    kernel, stride, dilation = axes(draw, n, 1, 3), axes(draw, n, 1, 3), axes(draw, n, 1, 2)
    padding = draw(
        st.one_of(
            st.just("same"), st.just("valid"), st.builds(tuple, st.lists(st.integers(0, 3), min_size=n, max_size=n))
        )
    )
    if padding == "same":
        stride = (1,) * n
    mode = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    spans = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    pads = [-(-s // 2) for s in spans] if padding == "same" else [0] * n if padding == "valid" else padding
    low = [
        max(1, s + 1 - 2 * p if mode == "zeros" else 0, p + 1 if mode == "reflect" else p)
        for s, p in zip(spans, pads, strict=True)
    ]
    low = [
        max(lo, s + 1 if padding == "valid" else 1, s + 1 - 2 * p if padding != "same" else 1)
        for lo, s, p in zip(low, spans, pads, strict=True)
    ]
    sizes = tuple(lo + draw(st.integers(0, 3)) for lo in low)
    kwargs = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "padding_mode": mode}
    return n, (c_in, c_out, kernel), kwargs | {"bias": draw(st.booleans()), "with_r": draw(st.booleans())}, sizes


@st.composite
def transposed_cases(draw):
    n = draw(st.integers(1, 3))
    c_in, c_out, groups = draw(channels())
    kernel, stride, dilation = axes(draw, n, 1, 3), axes(draw, n, 1, 3), axes(draw, n, 1, 2)
    # an output padding is smaller than the stride or the dilation; a padding leaves at least one cell
    extra = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    padding = tuple(draw(st.integers(0, d * (k - 1) // 2)) for d, k in zip(dilation, kernel, strict=True))
    kwargs = {"stride": stride, "padding": padding, "output_padding": extra, "groups": groups, "dilation": dilation}
    sizes = axes(draw, n, 1, 4)
    return n, (c_in, c_out, kernel), kwargs | {"bias": draw(st.booleans()), "with_r": draw(st.booleans())}, sizes


def check(layer, x, memory_format=torch.contiguous_format):
    """Values and the gradients of everything, against the oracle."""
    inputs = x.detach().to(memory_format=memory_format).requires_grad_()
    actual = layer(inputs)
    params = dict(layer.named_parameters())
    oracle = [
        None if p is None else p.detach().double().requires_grad_()
        for p in (layer.weight, layer.coord_weight, layer.bias)
    ]
    reference = x.detach().double().requires_grad_()
    n = len(layer.kernel_size)
    wanted = concat_conv(reference if x.dim() == n + 2 else reference[None], *oracle, layer)
    wanted = wanted if x.dim() == n + 2 else wanted[0]
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if x.dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-10}
    assert actual.dtype == x.dtype
    torch.testing.assert_close(actual.double(), wanted, **tolerance)
    weights = torch.randn_like(wanted)
    (actual * weights.to(x.dtype)).sum().backward()
    (wanted * weights).sum().backward()
    torch.testing.assert_close(inputs.grad.double(), reference.grad, **tolerance)
    for name, p in zip(("weight", "coord_weight", "bias"), oracle, strict=True):
        if p is not None:
            torch.testing.assert_close(
                params[name].grad.double(), p.grad, **tolerance, msg=lambda m, name=name: f"{name}: {m}"
            )


COMMON = settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])


@COMMON
@given(case=conv_cases(), batch=st.sampled_from([None, 1, 3]), double=st.booleans(), last=st.booleans())
def test_equals_concatenation(case, batch, double, last):
    n, args, kwargs, sizes = case
    dtype = torch.float64 if double else torch.float32
    torch.manual_seed(0)
    layer = CONVS[n](*args, **kwargs, dtype=dtype)
    x = torch.randn(*(() if batch is None else (batch,)), args[0], *sizes, dtype=dtype)
    check(layer, x, FORMATS.get(x.dim(), torch.contiguous_format) if last and batch else torch.contiguous_format)


@COMMON
@given(case=transposed_cases(), batch=st.sampled_from([None, 1, 3]), double=st.booleans(), last=st.booleans())
def test_transposed_equals_concatenation(case, batch, double, last):
    n, args, kwargs, sizes = case
    dtype = torch.float64 if double else torch.float32
    torch.manual_seed(0)
    layer = TRANSPOSED[n](*args, **kwargs, dtype=dtype)
    x = torch.randn(*(() if batch is None else (batch,)), args[0], *sizes, dtype=dtype)
    if 0 in layer(x).shape:
        return
    check(layer, x, FORMATS.get(x.dim(), torch.contiguous_format) if last and batch else torch.contiguous_format)
