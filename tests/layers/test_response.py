"""What makes the layers fast must not show: kept responses and tables, sums in place, products along the axes."""

import copy
import gc
import io
import itertools
import pickle

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from lightning_coordconv.layers import (
    CoordConv1d,
    CoordConv2d,
    CoordConv3d,
    CoordConvTranspose2d,
    FourierFeatures,
    coordinate_frame,
    coords,
    response,
    separable,
    to_coordconv,
)

from .oracle import expected

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def general_response(layer, sizes):
    """The response as compiled and transformed layers compute it: a convolution of the grid."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(response, "is_ordinary", lambda tensor: False)
        return response.coordinate_response(layer, sizes)


LAYERS = [
    lambda: CoordConv1d(2, 3, 5, stride=2, padding=2, dilation=2),
    lambda: CoordConv1d(2, 3, 4, stride=3),
    lambda: CoordConv2d(2, 3, 1),
    lambda: CoordConv2d(2, 3, (4, 3), stride=(3, 2), dilation=(1, 2)),
    lambda: CoordConv2d(2, 3, (7, 4), stride=2, padding=(3, 0)),
    lambda: CoordConv2d(2, 3, 4, padding="same", dilation=(1, 2)),
    lambda: CoordConv2d(2, 3, 3, padding=1, padding_mode="reflect"),
    lambda: CoordConv2d(2, 3, 3, padding=(2, 1), padding_mode="circular", bias=False),
    lambda: CoordConv3d(2, 3, (3, 2, 1), padding=(1, 1, 0), stride=(1, 2, 1)),
    lambda: CoordConv3d(2, 3, 2),
    lambda: CoordConvTranspose2d(2, 3, (3, 4), stride=(2, 3), padding=(0, 1), output_padding=(1, 0), dilation=(1, 2)),
]


@pytest.fixture(params=[0, separable.SMALL], ids=["axis by axis", "small"])
def small(request, monkeypatch):
    """Maps that count as small, for which one table is kept, or none that does."""
    monkeypatch.setattr(separable, "SMALL", request.param)
    separable._factors.cache_clear()
    yield
    separable._factors.cache_clear()


@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel:UserWarning")  # plain layers warn too
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("make", LAYERS)
def test_products_equal_the_convolution(make):
    """Values and gradients, on sizes down to one cell an axis."""
    torch.manual_seed(0)
    layer = make()
    n = len(layer.kernel_size)
    for sizes in [(11, 12, 9)[:n], (13, 8, 7)[:n], (12, 8, 1)[:n]]:
        if n == 3 and sizes[-1] == 1 and layer.kernel_size[-1] > 1:
            continue
        actual, wanted = response.coordinate_response(layer, sizes), general_response(layer, sizes)
        torch.testing.assert_close(actual, wanted, rtol=1e-5, atol=1e-5)
        weights = torch.randn_like(wanted)
        torch.testing.assert_close(
            *(torch.autograd.grad(value, layer.coord_weight, weights)[0] for value in (actual, wanted)), **CLOSE
        )


@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel:UserWarning")  # plain layers warn too
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")  # torch, by itself
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("make", LAYERS)
def test_gradients_of_first_and_second_order(make, batch):
    torch.manual_seed(0)
    layer = make().double()
    n = len(layer.kernel_size)
    x = torch.randn(batch, 2, *(9, 8, 4)[:n], dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]

    def run(x, *params):
        # (assigned, not swapped in by functional_call, to stay on the path of ordinary training)
        for name, param in zip(names, params, strict=True):
            layer._parameters[name] = param
        return layer(x)

    inputs = (x, *(p.detach().requires_grad_() for p in layer.parameters()))
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(run, inputs, fast_mode=True)


class TestBias:
    """The bias takes its gradient from the sum that the coordinate weights need, and its value from the convolution."""

    def test_is_added_by_the_convolution(self):
        conv, x = nn.Conv2d(3, 4, 3, padding=1), torch.randn(2, 3, 6, 6)
        layer = to_coordconv(nn.Sequential(copy.deepcopy(conv)), "all")
        assert torch.equal(layer(x), conv(x))

    @pytest.mark.parametrize("frozen", list(itertools.product([False, True], repeat=3)))
    def test_gradient(self, frozen):
        layer, x = CoordConv2d(3, 4, 3, padding=1), torch.randn(2, 3, 6, 5)
        plain = nn.Conv2d(3, 4, 3, padding=1)
        plain.load_state_dict({"weight": layer.weight.detach(), "bias": layer.bias.detach()})
        weights = torch.randn(2, 4, 6, 5)
        for module in (layer, plain):
            for p, freeze in zip((module.weight, module.bias), frozen, strict=False):
                p.requires_grad_(not freeze)
        layer.coord_weight.requires_grad_(not frozen[2])
        inputs = x.clone().requires_grad_()
        (layer(inputs) * weights).sum().backward()
        (plain(x) * weights).sum().backward() if not all(frozen[:2]) else None
        for name, p in plain.named_parameters():
            own = getattr(layer, name).grad
            assert (own is None) == (p.grad is None) == (not p.requires_grad)
            if own is not None:
                torch.testing.assert_close(own, p.grad, **CLOSE)
        assert (layer.coord_weight.grad is None) == frozen[2]


class TestKept:
    """A response kept from the last call is used only while it is right."""

    def check(self, layer, x):
        with torch.no_grad():
            torch.testing.assert_close(layer(x).double(), expected(layer, x), **CLOSE)

    @pytest.mark.parametrize("with_r", [False, True])
    def test_weights_that_change(self, with_r):
        layer, x = CoordConv2d(3, 4, 3, padding=1, with_r=with_r), torch.randn(2, 3, 6, 5)
        other = CoordConv2d(3, 4, 3, padding=1, with_r=with_r)
        self.check(layer, x)
        layer.coord_weight.data.mul_(0.5)  # which the version counter does not see
        self.check(layer, x)
        layer.coord_weight.detach().numpy()[:] += 1
        self.check(layer, x)
        layer.load_state_dict(other.state_dict())
        self.check(layer, x)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        layer(x).square().sum().backward()
        optimizer.step()
        self.check(layer, x)
        layer.coord_weight = nn.Parameter(torch.randn_like(layer.coord_weight))
        self.check(layer, x)

    def test_calls_that_differ(self):
        layer, x = CoordConv2d(3, 4, 3, padding=1), torch.randn(2, 3, 6, 5)
        for y in (x, x[0], x[:, :, :, 1:], x.to(memory_format=torch.channels_last), x[:1], x):
            self.check(layer, y)
        layer.stride = (2, 1)
        self.check(layer, x)
        with coordinate_frame((2, 2), (20, 20), crop=(6, 5)), torch.no_grad():
            inside = layer(x)
        assert not torch.allclose(inside, layer(x), rtol=1e-2)
        self.check(layer, x)
        up = CoordConvTranspose2d(3, 4, 3, stride=2)
        with torch.no_grad():
            sizes = [up(x, output_size=size).shape[-2:] for size in [(13, 11), (14, 12), (13, 11)]]
        assert sizes == [(13, 11), (14, 12), (13, 11)]

    def test_dtypes(self):
        layer, x = CoordConv2d(3, 4, 3, padding=1), torch.randn(2, 3, 6, 5)
        self.check(layer, x)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            assert layer(x).dtype == torch.bfloat16
        self.check(layer, x)
        self.check(layer.double(), x.double())

    @pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel:UserWarning")
    def test_training_after_inference_mode(self):
        for make in LAYERS:
            layer = make()
            x = torch.randn(2, 2, *(10, 9, 4)[: len(layer.kernel_size)])
            with torch.inference_mode():
                before = layer(x)
            out = layer(x)
            out.square().sum().backward()
            torch.testing.assert_close(out, before, **CLOSE)
            layer.requires_grad_(False)
            layer(x.requires_grad_()).square().sum().backward()
        with torch.inference_mode():
            born = CoordConv2d(3, 4, 3)
            x = torch.randn(2, 3, 6, 5)
            assert torch.equal(born(x), born(x))

    def test_the_output_is_the_callers(self):
        layer, x = CoordConv2d(3, 4, 1), torch.randn(1, 3, 6, 5)
        with torch.no_grad():
            first = layer(x)
            kept = first.clone()
            first.zero_()
            assert torch.equal(layer(x), kept)

    def test_leaves_no_trace(self):
        layer, x = CoordConv2d(3, 4, 3), torch.randn(2, 3, 6, 5)
        size = len(pickle.dumps(layer))
        with torch.no_grad():
            layer(x)
        assert layer in response._KEPT
        assert len(pickle.dumps(layer)) == size
        assert copy.deepcopy(layer) not in response._KEPT
        torch.save(layer, io.BytesIO())
        count = len(response._KEPT)
        del layer
        gc.collect()
        assert len(response._KEPT) < count

    def test_encodings_are_asked_each_time(self):
        layer, x = CoordConv2d(3, 4, 3, encoding=FourierFeatures(2)), torch.randn(2, 3, 6, 5)
        with torch.no_grad():
            before = layer(x)
            layer.encoding.include_coordinates, layer.encoding.num_frequencies = False, 2
            layer.coord_weight = nn.Parameter(layer.coord_weight[:, 2:])
            assert not torch.allclose(layer(x), before, rtol=1e-2)


@pytest.mark.parametrize("batch", [1, 3])
def test_memory_formats(batch):
    layer = CoordConv2d(3, 4, 3, padding=1).to(memory_format=torch.channels_last)
    x = torch.randn(batch, 3, 6, 5).to(memory_format=torch.channels_last).requires_grad_()
    out = layer(x)
    assert out.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(out.double(), expected(layer, x), **CLOSE)
    out.square().sum().backward()
    grads = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    layer(x.detach().contiguous()).square().sum().backward()
    for p, grad in zip(layer.parameters(), grads, strict=True):
        torch.testing.assert_close(p.grad, grad, **CLOSE)


def test_autocast_trains():
    layer, x = CoordConv2d(3, 4, 3, padding=1), torch.randn(2, 3, 6, 5)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in layer.parameters())
    torch.testing.assert_close(layer.bias.grad, torch.full((4,), 60.0), rtol=1e-2, atol=0)
    assert {tensor.dtype for tensor in layer.state_dict().values()} == {torch.float32}


def test_fake_tensors_are_not_kept():
    with FakeTensorMode(), torch.no_grad():
        assert CoordConv2d(3, 4, 3, padding=1)(torch.randn(2, 3, 16, 15)).shape == (2, 4, 16, 15)
    layer, x = CoordConv2d(3, 4, 3, padding=1), torch.randn(2, 3, 16, 15)
    torch.testing.assert_close(layer(x).double(), expected(layer, x), **CLOSE)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")  # torch, by itself
def test_forward_mode():
    layer, x = CoordConv2d(2, 3, 3, padding=1).double(), torch.randn(2, 2, 5, 4, dtype=torch.float64)
    tangent = torch.randn_like(x)
    with forward_ad.dual_level():
        pushed = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, tangent))).tangent
    torch.testing.assert_close(pushed, layer(x + tangent) - layer(x))


@pytest.mark.parametrize("cached", [0, response.CACHED])
def test_sums_over_the_batch(cached, monkeypatch):
    monkeypatch.setattr(response, "CACHED", cached)
    maps = torch.randn(5, 3, 4, 6)
    for each in (maps, maps.to(memory_format=torch.channels_last), maps.transpose(2, 3), maps[:, :, :, ::2]):
        total = response.sum_over_batch(each)
        torch.testing.assert_close(total, each.sum(0, keepdim=True))
        assert total.is_contiguous(memory_format=coords.memory_format(each)) or not each.is_contiguous()
