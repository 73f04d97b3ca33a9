"""Tests that layers work with copies, pickle, meta tensors, torch.func, DDP, quantisation, pruning and averaging."""

import copy
import io
import os
import pickle
import socket

import pytest
import torch
import torch.multiprocessing
import torchvision
from torch import nn
from torch.nn.utils import prune
from torchvision.models.feature_extraction import create_feature_extractor

from lightning_coordconv.layers import (
    CoordConv2d,
    coordconv_layers,
    to_coordconv,
)
from tests.layers.nets import CLOSE, Net

pytestmark = pytest.mark.usefixtures("fresh_compiler")


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
        # torch writes the address of each tensor as text, of varying length; a kept tensor would add hundreds of bytes
        assert len(pickle.dumps(net)) == pytest.approx(size, abs=100)
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
