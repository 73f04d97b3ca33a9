"""Tests that every CoordConv layer compiles, with frames and autocast, with no more recompilations than plain ones."""

import pytest
import torch
import torch.multiprocessing
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from lightning_coordconv.layers import (
    CoordConv2d,
    CoordConvTranspose2d,
    coordinate_field,
    coordinate_frame,
    to_coordconv,
)
from tests.layers.nets import CLOSE, KINDS, Net, plain_net
from tests.slow import slow_except

pytestmark = pytest.mark.usefixtures("fresh_compiler")

SHAPES = [(2, 3, 8, 8), (2, 3, 12, 8), (3, 3, 16, 10), (5, 3, 6, 20)]


class TestCompile:
    def recompilations(self, net, shapes, **options):
        """How many graphs the further shapes cost after the first. Torch 2.11 at times makes the first one twice."""
        counter = CompileCounterWithBackend("aot_eager")
        compiled = torch.compile(net, fullgraph=True, backend=counter, **options)
        counts = []
        for shape in shapes:
            x = torch.randn(shape)
            torch.testing.assert_close(compiled(x), net(x), **CLOSE)
            counts.append(counter.frame_count)
        return counts[-1] - counts[0]

    @pytest.mark.slow
    @pytest.mark.parametrize("dynamic", [None, True])
    @pytest.mark.parametrize(
        "make", [Net, lambda: to_coordconv(plain_net(), "all", with_r=True)], ids=["net", "converted"]
    )
    def test_no_more_recompilations_than_plain(self, make, dynamic):
        plain = self.recompilations(plain_net(), SHAPES, dynamic=dynamic)
        torch._dynamo.reset()
        assert self.recompilations(make(), SHAPES, dynamic=dynamic) <= plain

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", slow_except([CoordConv2d, CoordConvTranspose2d], KINDS))
    def test_every_layer_with_gradients(self, kind):
        n = int(kind.__name__[-2])
        layer = kind(4, 6, 3, padding=1, groups=2)
        x = torch.randn(2, 4, *(5, 6, 4)[:n])
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        for module in (layer, compiled):
            layer.zero_grad()
            out = module(x)
            out.square().sum().backward()
            grads = [p.grad.clone() for p in layer.parameters()]
            if module is layer:
                expected, expected_grads = out, grads
        torch.testing.assert_close(out, expected, **CLOSE)
        for grad, wanted in zip(grads, expected_grads, strict=True):
            torch.testing.assert_close(grad, wanted, **CLOSE)

    @pytest.mark.slow
    @pytest.mark.parametrize("shape", slow_except([(2, 1, 5, 6)], [(2, 1, 5, 6), (1, 5, 6)]))
    @pytest.mark.parametrize("channels_last", [False, True])
    @pytest.mark.parametrize("kind", slow_except([CoordConv2d], [CoordConv2d, CoordConvTranspose2d]))
    def test_one_channel_keeps_its_memory_format(self, kind, channels_last, shape):
        """One channel has the same elements in the same order either way; only its stride tells which was meant."""
        layer = kind(1, 4, 3, padding=1)
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        x = torch.randn(shape)
        if channels_last:
            x = x.squeeze(-3).unsqueeze(-1).movedim(-1, -3)
        outs, grads = [], []
        for module in (layer, compiled):
            leaf = x.detach().requires_grad_()
            outs.append(module(leaf))
            outs[-1].square().sum().backward()
            grads.append(leaf.grad)
        assert outs[1].stride() == outs[0].stride()
        torch.testing.assert_close(outs[1], outs[0], **CLOSE)
        torch.testing.assert_close(grads[1], grads[0], **CLOSE)

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler touches every attribute of every module
    def test_inductor(self):
        net, x = to_coordconv(plain_net(), "all"), torch.randn(2, 3, 8, 8)
        compiled = torch.compile(net, fullgraph=True)
        compiled(x).sum().backward()
        grads = [p.grad.clone() for p in net.parameters()]
        net.zero_grad()
        out = net(x)
        out.sum().backward()
        torch.testing.assert_close(compiled(x), out, **CLOSE)
        for p, grad in zip(net.parameters(), grads, strict=True):
            torch.testing.assert_close(p.grad, grad, **CLOSE)

    @pytest.mark.slow
    def test_frames_without_recompiling(self):
        """One graph for all tiles of one size, whatever their place."""
        net = Net()
        counter = CompileCounterWithBackend("aot_eager")
        compiled = torch.compile(net, fullgraph=True, backend=counter)
        x = torch.randn(2, 3, 16, 16)
        for origin in [(0, 0), (16, 32), (48, 48), (32, 4)]:
            with coordinate_frame(origin, (64, 64), crop=(16, 16)):
                torch.testing.assert_close(compiled(x), net(x), **CLOSE)
        assert counter.frame_count == 1
        torch.testing.assert_close(compiled(x), net(x), **CLOSE)
        with coordinate_field(torch.randn(2, 16, 16)):
            torch.testing.assert_close(compiled(x), net(x), **CLOSE)
        assert counter.frame_count == 3

    @pytest.mark.slow
    def test_frames_of_each_sample_set_inside(self):
        class Detector(nn.Module):
            def __init__(self):
                super().__init__()
                self.net = Net()

            def forward(self, x, sizes):
                with coordinate_frame((0, 0), sizes, crop=x.shape[-2:], padded=True):
                    return self.net(x)

        model, x, sizes = Detector(), torch.randn(2, 3, 16, 16), torch.tensor([[16, 12], [7, 16]])
        compiled = torch.compile(model, backend="aot_eager")
        torch.testing.assert_close(compiled(x, sizes), model(x, sizes), **CLOSE)

    @pytest.mark.slow
    def test_autocast(self):
        net, x = Net(), torch.randn(2, 3, 16, 12)
        with torch.autocast("cpu", torch.bfloat16):
            out = torch.compile(net, fullgraph=True, backend="aot_eager")(x)
            assert out.dtype == torch.bfloat16
            torch.testing.assert_close(out, net(x), rtol=2e-2, atol=2e-2)
