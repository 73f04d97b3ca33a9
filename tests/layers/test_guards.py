"""Tests of layers under tracing, weight norm, pruning and on the meta device; MKL-DNN and scripting are refused."""

import contextlib
import copy

import pytest
import torch
import torch.nn.utils.prune as prune
import torchvision
from torch import fx, nn
from torch.nn.utils import parametrizations, parametrize
from torchvision.models.feature_extraction import create_feature_extractor

from lightning_coordconv.layers import (
    AddCoords,
    CoordConv1d,
    CoordConv2d,
    CoordConvTranspose2d,
    TiledCoordConv2d,
    coordconv_layers,
    coordinate_frame,
    fold_coordconv,
    to_coordconv,
)
from tests.slow import slow_except

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


def old_weight_norm(conv):
    return nn.utils.weight_norm(conv)


def old_spectral_norm(conv):
    return nn.utils.spectral_norm(conv)


def pruned(conv):
    return prune.l1_unstructured(conv, "weight", 0.5)


NEW = [parametrizations.weight_norm, parametrizations.spectral_norm, parametrizations.orthogonal]
OLD = [old_weight_norm, old_spectral_norm, pruned]


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
class TestReparametrisedWeights:
    """Weight norm, spectral norm, orthogonality and pruning of the weight: loading and folding."""

    @pytest.mark.parametrize("wrap", OLD)
    def test_a_plain_checkpoint_loads_into_a_converted_layer(self, wrap):
        plain = wrap(nn.Conv1d(3, 4, 3)).eval()
        layer = to_coordconv(wrap(nn.Conv1d(3, 4, 3)), "all").eval()
        self.check(layer, plain)

    @pytest.mark.parametrize("wrap", OLD + NEW)
    def test_a_plain_checkpoint_loads_into_a_wrapped_layer(self, wrap):
        self.check(wrap(CoordConv1d(3, 4, 3)).eval(), wrap(nn.Conv1d(3, 4, 3)).eval())

    @staticmethod
    def check(layer, plain):
        nn.init.ones_(layer.coord_weight)
        for model, other in ((layer, plain), (nn.Sequential(layer), nn.Sequential(plain))):
            model.load_state_dict(other.state_dict(), strict=True)
        x = torch.randn(1, 3, 7)
        torch.testing.assert_close(layer(x), plain(x))
        assert not layer.coord_weight.any()

    def test_an_absent_layer_is_still_an_error(self):
        layer = parametrizations.weight_norm(CoordConv1d(3, 4, 3))
        with pytest.raises(RuntimeError, match="Missing key"):
            nn.Sequential(layer).load_state_dict({})

    @pytest.mark.parametrize("wrap", OLD + NEW)
    def test_folding_makes_them_permanent(self, wrap):
        layer, x = wrap(CoordConv2d(3, 4, 3)).eval(), torch.randn(1, 3, 8, 8)
        with torch.no_grad():  # torch cannot copy a weight that is an output of a graph
            wanted = layer(x)
        folded = fold_coordconv(nn.Sequential(layer), x)
        torch.testing.assert_close(folded(x), wanted)
        with torch.no_grad():
            torch.testing.assert_close(layer(x), wanted)
        assert [name for name, _ in folded.named_parameters()] == ["0.weight"]
        assert parametrize.is_parametrized(layer) == (wrap in NEW)

    @pytest.mark.parametrize("wrap", [nn.utils.weight_norm, prune.random_unstructured, parametrizations.weight_norm])
    def test_folding_makes_coordinate_weights_permanent(self, wrap):
        layer, x = CoordConv2d(3, 4, 3), torch.randn(1, 3, 8, 8)
        wrap(layer, "coord_weight", **({"amount": 0.3} if wrap is prune.random_unstructured else {}))
        with torch.no_grad():
            wanted = layer(x)
        folded = fold_coordconv(layer, x)
        torch.testing.assert_close(folded(x), wanted)
        assert list(folded.state_dict()) == ["weight", "coordinate_bias_8x8_to_6x6"]


class TestMetaDevice:
    """Loaders replace what no checkpoint holds by uninitialised memory; coordinate weights become zeros then."""

    @staticmethod
    def fill(monkeypatch):
        """Make uninitialised memory visible."""
        real = torch.empty_like
        monkeypatch.setattr(torch, "empty_like", lambda *args, **kwargs: real(*args, **kwargs).fill_(7.0))

    @pytest.mark.parametrize("convert", [False, True])
    def test_to_empty(self, convert):
        with torch.device("meta"):
            model = nn.Sequential(nn.Conv2d(3, 4, 3) if convert else CoordConv2d(3, 4, 3))
        if convert:
            to_coordconv(model)
        assert model[0].coord_weight.is_meta
        model.to_empty(device="cpu")
        assert type(model[0].coord_weight) is nn.Parameter
        assert not model[0].coord_weight.any()
        assert model[0].coord_weight.requires_grad

    def test_a_loader_that_materialises_missing_parameters(self):
        """As transformers' ``from_pretrained``: by name, and ``empty_like`` for each parameter that is missing."""
        plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 2, 2))
        with torch.device("meta"):
            model = to_coordconv(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 2, 2)), "all")
        state = plain.state_dict()
        for name, parameter in list(model.named_parameters()):
            module, _, key = name.rpartition(".")
            value = state[name] if name in state else torch.empty_like(parameter, device="cpu")
            model.get_submodule(module).load_state_dict({key: value}, strict=False, assign=True)
        x = torch.randn(2, 3, 6, 5)
        assert torch.equal(model(x), plain(x))

    def test_copies_stay_on_the_meta_device(self):
        layer = copy.deepcopy(CoordConv2d(3, 4, 3, device="meta"))
        assert layer.coord_weight.is_meta
        assert not layer.to_empty(device="cpu").coord_weight.any()
        assert layer(torch.randn(1, 3, 5, 5)).shape == (1, 4, 3, 3)
