"""Tests that layers compile, export (ONNX too), copy, run in DDP and torch.func, and take quantisation, pruning."""

import copy
import io
import os
import pickle
import socket

import onnxruntime
import pytest
import torch
import torch.multiprocessing
import torchvision
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.export import Dim
from torch.nn.utils import prune
from torchvision.models.feature_extraction import create_feature_extractor

from lightning_coordconv.layers import (
    AddCoords,
    Cartesian,
    CoordConv1d,
    CoordConv2d,
    CoordConv3d,
    CoordConvTranspose1d,
    CoordConvTranspose2d,
    CoordConvTranspose3d,
    FourierFeatures,
    Polar,
    coordconv_layers,
    coordinate_field,
    coordinate_frame,
    to_coordconv,
)
from tests.slow import slow_except

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
KINDS = [CoordConv1d, CoordConv2d, CoordConv3d, CoordConvTranspose1d, CoordConvTranspose2d, CoordConvTranspose3d]


class Net(nn.Module):
    """Both kinds of layer, strides, groups, padding modes, encodings and the concatenation."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.add = AddCoords(with_r=True)
        self.down = CoordConv2d(6, 6, 3, stride=2, padding=1, with_r=True)
        self.mid = CoordConv2d(6, 6, 3, padding=1, padding_mode="replicate", groups=3, encoding=FourierFeatures(2))
        self.same = CoordConv2d(6, 4, 3, padding="same", encoding=Cartesian(align_corners=False, preserve_aspect=True))
        self.up = CoordConvTranspose2d(4, 2, 2, stride=2, encoding=Polar())

    def forward(self, x):
        return self.up(self.same(self.mid(self.down(self.add(x)).tanh()).tanh()).tanh())


def plain_net():
    return nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.Tanh(), nn.ConvTranspose2d(6, 2, 2, stride=2))


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


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


class TestCopies:
    def test_deepcopy_and_pickle(self):
        net, x = Net(), torch.randn(2, 3, 8, 8)
        out = net(x)
        copies = [copy.deepcopy(net), pickle.loads(pickle.dumps(net))]
        buffer = io.BytesIO()
        torch.save(net.state_dict(), buffer)
        buffer.seek(0)
        copies.append(Net())
        copies[-1].load_state_dict(torch.load(buffer, weights_only=True), strict=True)
        for other in copies:
            assert torch.equal(other(x), out)
            assert repr(other) == repr(net)

    def test_use_leaves_no_trace(self):
        """No cache in the state dict, in the pickle, or in the way of training after inference."""
        net, x = Net(), torch.randn(2, 3, 8, 8)
        state, size = list(net.state_dict()), len(pickle.dumps(net))
        with torch.inference_mode():
            net(x)
            net.double()(x.double())
        net.float()(x).sum().backward()
        net.zero_grad(set_to_none=True)
        assert list(net.state_dict()) == state
        assert len(pickle.dumps(net)) == size
        assert all(p.requires_grad for p in copy.deepcopy(net).parameters())

    def test_meta_device(self):
        with torch.device("meta"):
            net = Net()
        assert all(p.is_meta for p in net.parameters())
        assert net(torch.randn(2, 3, 8, 8, device="meta")).shape == (2, 2, 8, 8)
        net = net.to_empty(device="cpu")
        for layer in coordconv_layers(net).values():
            layer.reset_parameters()
        other = Net()
        other.load_state_dict(net.state_dict(), strict=True)
        x = torch.randn(2, 3, 8, 8)
        assert torch.equal(net(x), other(x))
        with torch.device("meta"):
            assigned = Net()
        assigned.load_state_dict(net.state_dict(), strict=True, assign=True)
        assert torch.equal(assigned(x), net(x))

    def test_plain_checkpoint_assigned_to_meta(self):
        with torch.device("meta"):
            layer = CoordConv2d(3, 4, 3)
        plain = nn.Conv2d(3, 4, 3, dtype=torch.float64)
        layer.load_state_dict(plain.state_dict(), assign=True)
        x = torch.randn(1, 3, 5, 5, dtype=torch.float64)
        assert torch.equal(layer(x), plain(x))


class TestFunc:
    def test_grad(self):
        net, x = Net(), torch.randn(2, 3, 8, 8)
        params = dict(net.named_parameters())
        grads = torch.func.grad(lambda p: torch.func.functional_call(net, p, (x,)).square().sum())(params)
        net(x).square().sum().backward()
        for name, p in params.items():
            torch.testing.assert_close(grads[name], p.grad, **CLOSE)

    def test_vmap_over_inputs_gives_gradients_of_each_sample(self):
        net, xs = Net(), torch.randn(3, 3, 8, 8)
        params = {name: p.detach() for name, p in net.named_parameters()}

        def loss(p, x):
            return torch.func.functional_call(net, p, (x,)).square().sum()

        grads = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(params, xs)
        for i, x in enumerate(xs):
            single = torch.func.grad(loss)(params, x)
            for name in params:
                torch.testing.assert_close(grads[name][i], single[name], **CLOSE)

    def test_vmap_over_an_ensemble(self):
        nets = [Net() for _ in range(3)]
        for net in nets:
            for layer in coordconv_layers(net).values():
                layer.reset_parameters()
        params, buffers = torch.func.stack_module_state(nets)
        x = torch.randn(2, 3, 8, 8)
        out = torch.func.vmap(lambda p, b: torch.func.functional_call(nets[0], (p, b), (x,)))(params, buffers)
        torch.testing.assert_close(out, torch.stack([net(x) for net in nets]), **CLOSE)

    @pytest.mark.parametrize("name", ["weight", "coord_weight", "bias"])
    def test_vmap_over_one_parameter(self, name):
        layer, x = CoordConv2d(3, 4, 3), torch.randn(2, 3, 8, 8)
        values = torch.randn(5, *getattr(layer, name).shape)
        out = torch.func.vmap(lambda v: torch.func.functional_call(layer, {name: v}, (x,)))(values)
        for value, result in zip(values, out, strict=True):
            torch.testing.assert_close(result, torch.func.functional_call(layer, {name: value}, (x,)), **CLOSE)

    # torch scripts its own rules for forward mode, and warns about it
    @pytest.mark.filterwarnings("ignore:.torch.jit.script:FutureWarning", "ignore:.torch.jit.script:DeprecationWarning")
    def test_jvp_and_hessian(self):
        layer, x = CoordConv2d(2, 3, 3).double(), torch.randn(1, 2, 4, 4, dtype=torch.float64)
        params = {name: p.detach() for name, p in layer.named_parameters()}
        tangents = {name: torch.randn_like(p) for name, p in params.items()}

        def run(p):
            return torch.func.functional_call(layer, p, (x,))

        out, tangent = torch.func.jvp(run, (params,), (tangents,))
        torch.testing.assert_close(out, layer(x))
        shifted = run({name: p + tangents[name] for name, p in params.items()})  # linear in its parameters
        torch.testing.assert_close(tangent, shifted - out)
        loss = lambda c: run({**params, "coord_weight": c}).square().sum()  # noqa: E731
        hessian = torch.func.hessian(loss)(params["coord_weight"])
        assert hessian.shape == params["coord_weight"].shape * 2
        assert hessian.abs().max() > 0


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def train_distributed(rank, port, path):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    net = Net()
    model = nn.parallel.DistributedDataParallel(net, find_unused_parameters=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        optimizer.zero_grad()
        model(x[2 * rank : 2 * rank + 2]).square().mean().backward()
        optimizer.step()
    if rank == 0:
        torch.save(net.state_dict(), path)
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_distributed(tmp_path):
    """Two processes train what one would on both halves of the batch; a parameter left unused would be an error."""
    path = tmp_path / "net.pt"
    torch.multiprocessing.spawn(train_distributed, (free_port(), path), nprocs=2)
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()
    for name, value in torch.load(path, weights_only=True).items():
        torch.testing.assert_close(value, net.state_dict()[name], **CLOSE)


# torch is moving quantisation to another package, and deprecates its own arguments and tensors on the way
QUIET = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


class TestSurgery:
    @QUIET
    def test_quantisation_aware_training(self):
        """The swap is by exact class: plain layers are swapped, CoordConv layers stay what they are, and all train."""
        ao = pytest.importorskip("torch.ao.quantization")
        torch.manual_seed(0)
        body = nn.Sequential(CoordConv2d(3, 4, 3), nn.ReLU(), ao.QuantStub(), nn.Conv2d(4, 4, 3), ao.DeQuantStub())
        net, x = nn.Sequential(body, CoordConv2d(4, 2, 3)).train(), torch.randn(2, 3, 10, 10)
        body[2].qconfig = body[3].qconfig = body[4].qconfig = ao.get_default_qat_qconfig("x86")
        ao.prepare_qat(net, inplace=True)
        assert type(body[3]) is torch.ao.nn.qat.Conv2d
        assert list(coordconv_layers(net)) == ["0.0", "1"]
        net(x).square().sum().backward()
        assert all(layer.coord_weight.grad.abs().min() > 0 for layer in coordconv_layers(net).values())
        expected = net.eval()(x)
        ao.convert(net, inplace=True)
        assert type(body[3]) is torch.ao.nn.quantized.Conv2d
        torch.testing.assert_close(net(x), expected, rtol=0.1, atol=0.1)

    @QUIET
    def test_quantising_everything_leaves_the_layers_alone(self):
        ao = pytest.importorskip("torch.ao.quantization")
        net = Net().train()
        net.qconfig = ao.get_default_qat_qconfig("x86")
        prepared = ao.prepare_qat(net)
        assert list(coordconv_layers(prepared)) == list(coordconv_layers(net))
        prepared(torch.randn(2, 3, 8, 8)).sum().backward()

    def test_feature_extraction(self):
        """The layers may be named as leaves, though they are leaves without that."""
        model = to_coordconv(torchvision.models.resnet18(), "all").eval()
        leaves = [*{type(layer) for layer in coordconv_layers(model).values()}]
        extract = create_feature_extractor(model, ["layer2"], tracer_kwargs={"leaf_modules": leaves})
        assert extract(torch.randn(1, 3, 32, 32))["layer2"].shape == (1, 128, 4, 4)

    def test_pruning(self):
        layer, x = CoordConv2d(3, 4, 3), torch.randn(1, 3, 5, 5)
        prune.l1_unstructured(layer, "coord_weight", amount=1.0)
        torch.testing.assert_close(layer(x), nn.Conv2d.forward(layer, x))

    def test_parametrization(self):
        layer, x = CoordConv2d(3, 4, 3), torch.randn(1, 3, 5, 5)
        before = layer(x)
        nn.utils.parametrizations.weight_norm(layer)
        nn.utils.parametrizations.weight_norm(layer, "coord_weight")
        torch.testing.assert_close(layer(x), before, **CLOSE)

    def test_swa_and_clone(self):
        net, x = Net(), torch.randn(1, 3, 8, 8)
        averaged = torch.optim.swa_utils.AveragedModel(net)
        averaged.update_parameters(net)
        torch.testing.assert_close(averaged(x), net(x), **CLOSE)
