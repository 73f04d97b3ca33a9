"""Tests that CoordConv layers and networks of them export with torch.export and to ONNX, for other sizes too."""

import io

import onnxruntime
import pytest
import torch
import torch.multiprocessing
from timm.layers import Conv2dSame
from torch.export import Dim

from lightning_coordconv.layers import (
    CoordConv1d,
    CoordConv2d,
    CoordConv3d,
    CoordConvTranspose2d,
    to_coordconv,
)
from tests.layers.nets import CLOSE, KINDS, Net
from tests.slow import slow_except

pytestmark = pytest.mark.usefixtures("fresh_compiler")


class TestExport:
    @pytest.mark.slow
    @pytest.mark.parametrize("strict", [False, True])
    def test_dynamic_sizes(self, strict):
        net = Net()
        dynamic = {0: Dim("batch"), 2: Dim("height", min=4, max=4096), 3: Dim("width", min=4, max=4096)}
        program = torch.export.export(net, (torch.randn(2, 3, 16, 12),), dynamic_shapes=(dynamic,), strict=strict)
        for shape in [(1, 3, 32, 20), (3, 3, 8, 64), (2, 3, 5, 7)]:
            x = torch.randn(shape)
            torch.testing.assert_close(program.module()(x), net(x), **CLOSE)

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", slow_except([CoordConv2d, CoordConvTranspose2d], KINDS))
    def test_every_layer(self, kind):
        n = int(kind.__name__[-2])
        layer = kind(4, 6, 3, stride=2, padding=1, groups=2, with_r=True)
        dims = {0: Dim.DYNAMIC, **dict.fromkeys(range(2, 2 + n), Dim.DYNAMIC)}
        program = torch.export.export(layer, (torch.randn(2, 4, *(9, 8, 7)[:n]),), dynamic_shapes=(dims,))
        for size in [(4, 5, 6), (12, 3, 3)]:
            x = torch.randn(3, 4, *size[:n])
            torch.testing.assert_close(program.module()(x), layer(x), **CLOSE)

    @pytest.mark.slow
    def test_autocast(self):
        layer, x = CoordConv2d(3, 4, 3), torch.randn(2, 3, 8, 8)
        with torch.autocast("cpu", torch.bfloat16):
            program = torch.export.export(layer, (x,))
            torch.testing.assert_close(program.module()(x), layer(x))


def assert_onnx_agrees(net, example, inputs, dynamic):
    program = torch.onnx.export(net.eval(), (example,), dynamo=True, dynamic_shapes=(dynamic,), verbose=False)
    buffer = io.BytesIO()
    program.save(buffer)
    session = onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
    (name,) = (value.name for value in session.get_inputs())
    for x in inputs:
        (out,) = session.run(None, {name: x.numpy()})
        torch.testing.assert_close(torch.from_numpy(out), net(x).detach(), rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore:.isinstance.treespec:FutureWarning")  # the exporter of torch 2.11, of itself
class TestOnnx:
    @pytest.mark.slow
    @pytest.mark.parametrize("kind", [CoordConv1d, CoordConv2d, CoordConv3d, CoordConvTranspose2d])
    def test_every_layer_at_other_sizes(self, kind):
        n = int(kind.__name__[-2])
        dynamic = {0: Dim.DYNAMIC, **dict.fromkeys(range(2, 2 + n), Dim.DYNAMIC)}
        inputs = [torch.randn(3, 4, *size[:n]) for size in [(4, 5, 6), (12, 3, 3)]]
        layer = kind(4, 6, 3, stride=2, padding=1, groups=2, with_r=True)
        assert_onnx_agrees(layer, torch.randn(2, 4, *(9, 8, 7)[:n]), inputs, dynamic)

    @pytest.mark.slow
    def test_a_net_at_other_sizes(self):
        dynamic = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
        inputs = [torch.randn(1, 3, 32, 20), torch.randn(3, 3, 8, 64)]
        assert_onnx_agrees(Net(), torch.randn(2, 3, 16, 12), inputs, dynamic)

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore")  # the exporter that traces is deprecated
    @pytest.mark.parametrize("stride", [1, 2, 3])
    def test_padding_that_depends_on_the_size_at_odd_and_even_sizes(self, stride):
        net = torch.nn.Sequential(Conv2dSame(2, 3, 3, stride, 0))
        to_coordconv(net, "all")
        torch.nn.init.normal_(net[0].coord_weight)
        buffer, sizes = io.BytesIO(), {"x": {2: "height", 3: "width"}}
        torch.onnx.export(net, torch.randn(1, 2, 9, 12), buffer, dynamo=False, input_names=["x"], dynamic_axes=sizes)
        session = onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
        for size in [(9, 12), (8, 12), (7, 11), (10, 13)]:
            x = torch.randn(1, 2, *size)
            (out,) = session.run(None, {"x": x.numpy()})
            torch.testing.assert_close(torch.from_numpy(out), net(x).detach(), rtol=1e-3, atol=1e-4)
