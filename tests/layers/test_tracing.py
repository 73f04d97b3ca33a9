"""Tests of tracing layers by torch.jit, torch.export and torch.fx: other sizes, kept frames, layers as single nodes."""

import contextlib

import pytest
import torch
import torchvision
from torch import fx, nn
from torchvision.models.feature_extraction import create_feature_extractor

from lightning_coordconv.layers import (
    AddCoords,
    CoordConv2d,
    CoordConvTranspose2d,
    TiledCoordConv2d,
    coordconv_layers,
    coordinate_frame,
    fold_coordconv,
    to_coordconv,
)
from tests.layers.test_guards import CLOSE, QUIET, layers
from tests.slow import slow_except


@QUIET
def test_a_trace_is_right_at_other_sizes():
    for net in (
        CoordConv2d(3, 4, 3, stride=2),
        CoordConvTranspose2d(3, 4, 2),
        nn.Sequential(AddCoords(), nn.Flatten()),
    ):
        traced = torch.jit.trace(net, torch.randn(1, 3, 16, 16))
        for size in ((2, 3, 20, 12), (1, 3, 5, 33)):
            x = torch.randn(size)
            torch.testing.assert_close(traced(x), net(x), **CLOSE)


@pytest.mark.slow
@QUIET
@pytest.mark.parametrize("traced_inside", [False, True])
@pytest.mark.parametrize("trace", [torch.jit.trace, lambda net, x: torch.export.export(net, (x,)).module()])
def test_a_trace_keeps_the_frame_in_which_it_was_made(trace, traced_inside):
    net, x = CoordConv2d(3, 4, 3).eval(), torch.randn(1, 3, 8, 8)
    tracing, calling = coordinate_frame((4, 4), (16, 16), crop=(8, 8)), contextlib.nullcontext()
    if not traced_inside:
        tracing, calling = calling, tracing
    with tracing:
        expected, traced = net(x), trace(net, x)
    with calling:
        torch.testing.assert_close(traced(x), expected, **CLOSE)
        assert not torch.allclose(net(x), expected)


class Net(nn.Module):
    """Layers of every kind that symbolic tracing meets, called by position and by keyword."""

    def __init__(self):
        super().__init__()
        self.tiled = TiledCoordConv2d(3, 4, 6)
        self.add = AddCoords()
        self.conv = CoordConv2d(6, 4, 3, with_r=True)
        self.up = CoordConvTranspose2d(4, 2, 3, stride=2)

    def forward(self, vector):
        return self.up(self.conv(input=self.add(self.tiled(vector))), output_size=(10, 10))


class TestSymbolicTracing:
    """torch.fx records the layers as it records those of torch: as leaves."""

    def test_every_kind_of_layer(self):
        net = Net()
        traced = fx.symbolic_trace(net)
        vector = torch.randn(2, 3)
        torch.testing.assert_close(traced(vector), net(vector))
        assert [node.target for node in traced.graph.nodes if node.op == "call_module"] == [
            "tiled",
            "add",
            "conv",
            "up",
        ]

    def test_folded(self):
        x = torch.randn(2, 3, 8, 8)
        net = nn.Sequential(layers(x)["folded"], nn.ReLU())
        torch.testing.assert_close(fx.symbolic_trace(net)(x), net(x))

    @pytest.mark.slow
    @pytest.mark.parametrize("where", slow_except(["first"], ["first", "all"]))
    @pytest.mark.parametrize("fold", slow_except([True], [False, True]))
    def test_feature_extraction(self, where, fold):
        x = torch.randn(1, 3, 32, 32)
        model = to_coordconv(torchvision.models.resnet18(), where).eval()
        plain = create_feature_extractor(torchvision.models.resnet18().eval(), ["layer2"])
        for layer in coordconv_layers(model).values():
            nn.init.normal_(layer.coord_weight)
        model = fold_coordconv(model, x) if fold else model
        extract = create_feature_extractor(model, ["layer2"])
        assert extract(x)["layer2"].shape == plain(x)["layer2"].shape
        wanted = model.layer2(model.layer1(model.maxpool(model.relu(model.bn1(model.conv1(x))))))
        torch.testing.assert_close(extract(x)["layer2"], wanted)
