"""Tests that layers refuse MKL-DNN, scripting and quantised inputs, with an error that says what to do instead."""

import pytest
import torch
from torch import nn

from lightning_coordconv.layers import (
    AddCoords,
    CoordConv2d,
    CoordConvTranspose2d,
    fold_coordconv,
)

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
# torch deprecates TorchScript, MKL-DNN modules and eager quantisation, each of them at every use
QUIET = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning", "ignore::torch.jit.TracerWarning"
)


def layers(x):
    conv = CoordConv2d(3, 4, 3)
    return {"coordconv": conv, "folded": fold_coordconv(conv, x)}


@pytest.mark.parametrize("kind", ["coordconv", "folded"])
class TestRefused:
    @QUIET
    @pytest.mark.parametrize("nested", [False, True])
    def test_mkldnn(self, kind, nested):
        x = torch.randn(1, 3, 8, 8)
        layer = layers(x)[kind].eval()
        # (not imported at the top: the doctest collector touches attributes of modules, and these warn)
        from torch.utils.mkldnn import to_mkldnn

        with pytest.raises(RuntimeError, match=r"to_mkldnn drops the coordinate bias of .*torch.compile"):
            to_mkldnn(nn.Sequential(nn.ReLU(), layer) if nested else layer)
        assert list(layer.named_children()) == []

    @QUIET
    @pytest.mark.parametrize("nested", [False, True])
    def test_scripting(self, kind, nested):
        x = torch.randn(1, 3, 8, 8)
        layer = layers(x)[kind].eval()
        with pytest.raises(
            RuntimeError, match=r"torch.jit.script cannot compile .*; use torch.export or torch.jit.trace"
        ):
            torch.jit.script(nn.Sequential(nn.ReLU(), layer) if nested else layer)
        traced = torch.jit.trace(layer, x)
        torch.testing.assert_close(traced(x), layer(x), **CLOSE)


@QUIET
@pytest.mark.parametrize("kind", ["coordconv", "folded", "add", "transposed"])
def test_a_quantised_input_names_the_way_out(kind):
    x = torch.randn(1, 3, 8, 8)
    layer = (layers(x) | {"add": AddCoords(), "transposed": CoordConvTranspose2d(3, 4, 3)})[kind]
    quantised = torch.quantize_per_tensor(x, 0.1, 0, torch.quint8)
    with pytest.raises(
        TypeError, match=r"computes in floating point, but got a quantised tensor .*DeQuantStub in front"
    ):
        layer(quantised)


@QUIET
def test_eager_quantisation_names_the_way_out():
    ao = pytest.importorskip("torch.ao.quantization")
    model = nn.Sequential(ao.QuantStub(), CoordConv2d(3, 4, 3), ao.DeQuantStub()).eval()
    model.qconfig, x = ao.get_default_qconfig("x86"), torch.randn(2, 3, 8, 8)
    prepared = ao.prepare(model)
    prepared(x)
    with pytest.raises(TypeError, match="DeQuantStub in front of the layer and a QuantStub after it"):
        ao.convert(prepared)(x)
