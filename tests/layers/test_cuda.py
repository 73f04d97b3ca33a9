"""Tests that CoordConv layers on a GPU give the CPU's results and gradients, never wait, and work in CUDA graphs."""

import copy

import pytest
import torch
from torch import nn

from lightning_coordconv.layers import (
    CoordConv2d,
    clear_coordinate_cache,
    to_coordconv,
)
from lightning_coordconv.layers.cache import CACHE
from tests.layers.test_coordinate_bias import LAYERS

from .oracle import expected

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@needs_cuda
class TestCuda:
    """The same results on a card, where the bias rides in the coordinate bias; and no wait for the device."""

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    @pytest.mark.parametrize("last", [False, True])
    @pytest.mark.parametrize("make", LAYERS)
    def test_equals_the_cpu(self, make, dtype, last):
        torch.manual_seed(0)
        layer = make()
        x = torch.randn(3, 2, *(14, 13, 9)[: len(layer.kernel_size)])
        wanted, parameters = expected(layer, x), list(layer.parameters())
        vector = torch.randn(wanted.shape)
        theirs = torch.autograd.grad(layer(x), parameters, vector)
        on_card = copy.deepcopy(layer).to("cuda", dtype)
        x = x.to("cuda", dtype)
        x = x.to(memory_format=torch.channels_last) if last and x.dim() == 4 else x
        tolerance = {"rtol": 1e-3, "atol": 1e-3} if dtype == torch.float32 else {"rtol": 0.05, "atol": 0.3}
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            out = on_card(x)
            ours = torch.autograd.grad(out, list(on_card.parameters()), vector.to("cuda", dtype))
        torch.testing.assert_close(out.cpu().double(), wanted, **tolerance)
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a.cpu().float(), b, **tolerance)

    @pytest.mark.parametrize("size", [8, 80])
    def test_never_waits(self, size):
        layer = CoordConv2d(3, 4, 3, padding=1, device="cuda")
        x = torch.randn(2, 3, size, size, device="cuda")
        layer(x).sum().backward()
        torch.cuda.set_sync_debug_mode("error")
        try:
            layer(x).sum().backward()
            with torch.no_grad():
                layer(x)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    def test_graph(self):
        """A graph captured after a warm-up replays the layer; another geometry still works afterwards."""
        layer, x = CoordConv2d(3, 4, 3, padding=1, device="cuda"), torch.randn(2, 3, 40, 40, device="cuda")
        graphed = torch.cuda.make_graphed_callables(copy.deepcopy(layer), (x,))
        graphed.load_state_dict(layer.state_dict())
        torch.testing.assert_close(graphed(x), layer(x))
        clear_coordinate_cache()  # a graph captured without a warm-up cannot copy a table to the device
        graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(graph):
            out = layer(x)
        graph.replay()
        torch.testing.assert_close(out, layer(x))
        assert all(not tensor.isnan().any() for kept in CACHE.kept.values() for tensor in kept)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_a_converted_layer_rounds_as_the_plain_one(self, dtype):
        plain = nn.Conv2d(3, 4, 3, padding=1).to("cuda", dtype)
        layer, x = to_coordconv(copy.deepcopy(plain)), torch.randn(2, 3, 9, 8, device="cuda", dtype=dtype)
        assert torch.equal(layer(x), plain(x))
