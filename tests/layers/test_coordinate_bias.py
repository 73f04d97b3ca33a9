"""Tests of the coordinate bias: values, gradients, repeated calls, cache, numbers of operators, CUDA."""

import copy
import io
import itertools
import pickle
import threading

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_coordconv.layers import (
    CoordConv1d,
    CoordConv2d,
    CoordConv3d,
    CoordConvTranspose2d,
    FourierFeatures,
    clear_coordinate_cache,
    coordinate_bias,
    coordinate_frame,
    limit_coordinate_cache,
    taps,
    to_coordconv,
)
from lightning_coordconv.layers.cache import CACHE
from tests.slow import slow_except

from .oracle import concat_conv, expected

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
# The first use of forward mode imports a module of torch that warns, in other words on Python 3.14
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is:FutureWarning")


@pytest.fixture(autouse=True)
def _empty_cache():
    clear_coordinate_cache()
    yield
    limit_coordinate_cache(64 << 20)


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


@pytest.fixture(params=["axes", "matrix", "grid"])
def form(request, monkeypatch):
    """Taps with a factor an axis, or with one matrix for all axes, or a convolution of the grid."""
    monkeypatch.setattr(taps, "MAX_WHOLE_ELEMENTS", 0 if request.param == "axes" else 1 << 13)
    monkeypatch.setattr(coordinate_bias, "MAX_GRID_PRODUCTS", 1 << 21 if request.param == "grid" else 0)


@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel:UserWarning")
@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("make", LAYERS)
def test_products_equal_a_convolution_of_the_grid(make, eager):
    """Values and gradients, on sizes down to one cell an axis."""
    torch.manual_seed(0)
    layer = make()
    n = len(layer.kernel_size)
    for sizes in [(11, 12, 9)[:n], (13, 8, 7)[:n], (12, 8, 1)[:n]]:
        if n == 3 and sizes[-1] == 1 and layer.kernel_size[-1] > 1:
            continue
        padding = layer.output_padding if layer.transposed else None
        wanted = coordinate_bias.convolve_coordinates(layer, layer.coord_weight, sizes, padding)
        actual = coordinate_bias.coordinate_bias(layer, layer.coord_weight, sizes, wanted.shape[-n:], padding, eager)
        torch.testing.assert_close(actual, wanted, rtol=1e-5, atol=1e-5)
        weights = torch.randn_like(wanted)
        torch.testing.assert_close(
            *(torch.autograd.grad(value, layer.coord_weight, weights)[0] for value in (actual, wanted)), **CLOSE
        )


@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel:UserWarning")
@pytest.mark.usefixtures("form")
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
    """The layer's bias is added once, and has the gradient of a plain convolution."""

    def test_a_converted_layer_rounds_as_the_plain_one(self):
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


class TestRepeatedCalls:
    """What one call leaves behind never changes the result of another."""

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

    def test_leaves_no_trace_in_the_layer(self):
        layer, x = CoordConv2d(3, 4, 3), torch.randn(2, 3, 6, 5)
        size, attributes = len(pickle.dumps(layer)), set(vars(layer))
        layer(x).sum().backward()
        layer.zero_grad(set_to_none=True)
        assert set(vars(layer)) == attributes
        assert len(pickle.dumps(layer)) == size
        torch.save(layer, io.BytesIO())

    def test_weights_that_change_between_two_parts_of_a_call(self, monkeypatch):
        """Nothing that depends on a weight is kept, so no other thread's update can be paired with an old value."""
        layer, x = CoordConv2d(1, 2, 3, padding=1).requires_grad_(False), torch.zeros(1, 1, 6, 6)
        real = coordinate_bias.coordinate_bias

        def update_after(layer, *args):
            out = real(layer, *args)
            layer.coord_weight.add_(1.0)
            return out

        monkeypatch.setattr(coordinate_bias, "coordinate_bias", update_after)
        layer(x)
        monkeypatch.undo()
        torch.testing.assert_close(layer(x), copy.deepcopy(layer)(x))

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


def test_forward_mode():
    layer, x = CoordConv2d(2, 3, 3, padding=1).double(), torch.randn(2, 2, 5, 4, dtype=torch.float64)
    tangent = torch.randn_like(x)
    with forward_ad.dual_level():
        pushed = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, tangent))).tangent
    torch.testing.assert_close(pushed, layer(x + tangent) - layer(x))


class TestCache:
    """Only what depends on geometry is kept: real tensors, up to a number of bytes."""

    @pytest.mark.parametrize("allow", [False, True])
    def test_fake_tensors_are_not_kept(self, allow):
        with FakeTensorMode(allow_non_fake_inputs=allow), torch.no_grad():
            assert CoordConv2d(3, 4, 3, padding=1)(torch.randn(2, 3, 16, 15)).shape == (2, 4, 16, 15)
        self.check()

    @pytest.mark.parametrize("mode", slow_except(["fake", "real"], ["fake", "real", "symbolic"]))
    def test_traces_leave_the_cache_usable(self, mode):
        make_fx(CoordConv2d(3, 4, 3, padding=1), tracing_mode=mode, _allow_non_fake_inputs=True)(
            torch.randn(2, 3, 16, 15)
        )
        self.check()

    def test_a_real_layer_in_a_fake_mode_leaves_the_cache_usable(self):
        layer, x = CoordConv2d(3, 4, 3, padding=1), torch.randn(2, 3, 16, 15)
        with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
            layer(x)
        self.check()

    def test_transforms_devices_and_dtypes_leave_the_cache_usable(self):
        layer, x = CoordConv2d(3, 4, 3, padding=1), torch.randn(2, 3, 16, 15)
        torch.func.vmap(layer)(x[None])
        with torch.device("meta"):
            CoordConv2d(3, 4, 3, padding=1)(torch.randn(2, 3, 16, 15))
            layer(x)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            layer(x)
        self.check()

    def check(self):
        assert all(type(tensor) is torch.Tensor for kept in CACHE.kept.values() for tensor in kept)
        layer, x = CoordConv2d(3, 4, 3, padding=1), torch.randn(2, 3, 16, 15)
        torch.testing.assert_close(layer(x).double(), expected(layer, x), **CLOSE)
        layer(x).square().sum().backward()

    def test_has_a_bound(self):
        layer = CoordConv2d(1, 2, 3, padding=1)
        limit_coordinate_cache(60_000)
        for size in range(5, 60):
            x = torch.randn(1, 1, size, size)
            torch.testing.assert_close(layer(x).double(), expected(layer, x), **CLOSE)
            actual = sum(tensor.nbytes for kept in CACHE.kept.values() for tensor in kept)
            assert actual == CACHE.bytes <= 60_000
        assert len(CACHE.kept) > 1

    def test_a_table_beyond_the_bound_releases_nothing_else(self):
        limit_coordinate_cache(3_000)
        layer = CoordConv2d(1, 2, 3)
        layer(torch.randn(1, 1, 8, 8))
        kept = list(CACHE.kept)
        layer(torch.randn(1, 1, 20, 20))
        assert list(CACHE.kept) == kept != []

    def test_of_transposed_layers_is_used_again(self):
        layer = CoordConvTranspose2d(1, 2, 3)
        for _ in range(3):
            layer(torch.randn(1, 1, 5, 5))
        assert len(CACHE.kept) == 1

    def test_is_released(self):
        layer, x = CoordConv2d(1, 2, 3), torch.randn(1, 1, 9, 9)
        layer(x)
        assert CACHE.bytes > 0
        clear_coordinate_cache()
        assert (CACHE.bytes, len(CACHE.kept)) == (0, 0)
        assert CACHE.max_bytes == 64 << 20
        limit_coordinate_cache(0)
        torch.testing.assert_close(layer(x).double(), expected(layer, x), **CLOSE)
        assert not CACHE.kept
        with pytest.raises(ValueError, match="max_bytes must be at least 0, but got -1"):
            limit_coordinate_cache(-1)

    def test_keeps_little_for_large_maps(self):
        """A ResNet's stem on 512 x 512 pixels keeps kilobytes, not a map."""
        with torch.no_grad():
            CoordConv2d(3, 64, 7, stride=2, padding=3)(torch.randn(1, 3, 512, 512))
        assert CACHE.bytes < 64 << 10

    def test_threads(self):
        limit_coordinate_cache(5_000)
        errors = []

        def run(seed):
            generator = torch.Generator().manual_seed(seed)
            layer = CoordConv2d(1, 2, 3, padding=1)
            for _ in range(40):
                x = torch.randn(1, 1, *torch.randint(3, 20, (2,), generator=generator).tolist())
                if not torch.allclose(layer(x).double(), expected(layer, x), **CLOSE):
                    errors.append(x.shape)

        threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert CACHE.bytes <= 5_000


class TestChangedGeometry:
    """Attributes are read when they are used: segmentation networks dilate their backbones after construction."""

    @pytest.mark.parametrize(
        "change",
        [
            {"dilation": (2, 2), "padding": (2, 2), "stride": (1, 1)},
            {"dilation": 2, "padding": 2},
            {"stride": 2},
            {"dilation": [2, 1], "padding": [0, 3], "stride": [1, 2]},
            {"padding": "valid"},
            {"padding": "same"},
        ],
    )
    @pytest.mark.parametrize("kernel", [1, 3])
    @pytest.mark.parametrize("with_r", [False, True])
    def test_equals_a_layer_built_so(self, change, kernel, with_r):
        plain = nn.Conv2d(2, 3, kernel, padding=kernel // 2)
        x = torch.randn(2, 2, 9, 8)
        for name, value in change.items():
            setattr(plain, name, value)
        layer = to_coordconv(copy.deepcopy(plain), with_r=with_r)
        assert torch.equal(layer(x), plain(x))
        nn.init.normal_(layer.coord_weight)
        as_tuples = {name: tuple(value) if isinstance(value, list) else value for name, value in change.items()}
        built = CoordConv2d(2, 3, kernel, **{"padding": kernel // 2} | as_tuples, with_r=with_r)
        built.load_state_dict(layer.state_dict())
        with torch.no_grad():
            torch.testing.assert_close(layer(x).double(), expected(built, x), **CLOSE)
        torch.testing.assert_close(layer(x).double(), expected(built, x), **CLOSE)

    @pytest.mark.parametrize("mode", ["reflect", "circular"])
    def test_the_padding_that_torch_ignores_is_ignored_for_coordinates_too(self, mode):
        """Where the padding mode is not zeros, torch uses the padding of the constructor."""
        plain, x = nn.Conv2d(2, 3, 3, padding=1, padding_mode=mode), torch.randn(1, 2, 6, 5)
        plain.padding = (2, 2)
        layer = to_coordconv(copy.deepcopy(plain))
        assert torch.equal(layer(x), plain(x))
        nn.init.normal_(layer.coord_weight)
        layer.padding = (1, 1)
        torch.testing.assert_close(layer(x).double(), expected(layer, x), **CLOSE)

    def test_of_transposed_layers(self):
        layer, x = CoordConvTranspose2d(2, 3, 3), torch.randn(1, 2, 5, 4)
        layer(x)
        layer.stride, layer.padding, layer.output_padding = (2, 2), (1, 1), (1, 0)
        torch.testing.assert_close(layer(x).double(), expected(layer, x), **CLOSE)


class TestGradientsOfManyKinds:
    @pytest.mark.parametrize("name", ["weight", "coord_weight", "bias"])
    @pytest.mark.parametrize("shape", [(2, 3, 5, 5), (4, 3, 80, 80)])
    def test_batched_gradients(self, name, shape):
        """Also beyond the size at which the sum over the batch is a product."""
        layer, x = CoordConv2d(3, 4, 3), torch.randn(shape)
        out = layer(x)
        vectors = torch.randn(3, *out.shape)
        leaf = getattr(layer, name)
        batched = torch.autograd.grad(out, leaf, vectors, is_grads_batched=True, retain_graph=True)[0]
        for vector, gradient in zip(vectors, batched, strict=True):
            single = torch.autograd.grad(out, leaf, vector, retain_graph=True)[0]
            torch.testing.assert_close(gradient, single, rtol=1e-3, atol=1e-3)

    def test_vectorised_jacobian(self):
        layer, x = CoordConv2d(2, 3, 3).double(), torch.randn(2, 2, 4, 4, dtype=torch.float64)
        jacobians = [torch.autograd.functional.jacobian(layer, x, vectorize=fast) for fast in (False, True)]
        torch.testing.assert_close(*jacobians)

    @pytest.mark.parametrize("last", [False, True])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    @pytest.mark.parametrize("encoding", [None, FourierFeatures(1)])
    def test_large_maps(self, last, dtype, encoding):
        """Beyond the size at which the sum over the batch is a product."""
        torch.manual_seed(0)
        layer = CoordConv2d(2, 5, 3, padding=1, encoding=encoding).to(dtype)
        x = torch.randn(6, 2, 60, 50, dtype=dtype)
        x = x.to(memory_format=torch.channels_last) if last else x
        out = layer(x)
        assert out.numel() > coordinate_bias.MAX_PLAIN_SUM_ELEMENTS
        assert out.is_contiguous(memory_format=torch.channels_last) or not last
        vector = torch.randn(out.shape).to(dtype)
        for gradient in (vector, vector.to(memory_format=torch.channels_last), vector.transpose(2, 3).transpose(2, 3)):
            actual = torch.autograd.grad(out, tuple(layer.parameters()), gradient, retain_graph=True)
            parameters = [p.detach().double().requires_grad_() for p in (layer.weight, layer.coord_weight, layer.bias)]
            coords = None
            if encoding is not None:
                coords = encoding(coordinate_bias.encoded_coordinates((60, 50), False, None, x.device, torch.float64))
            oracle = concat_conv(x.double(), *parameters, layer, coords=coords)
            wanted = torch.autograd.grad(oracle, (parameters[0], parameters[2], parameters[1]), gradient.double())
            tolerance = {"rtol": 1e-3, "atol": 1e-2} if dtype == torch.float32 else {"rtol": 0.05, "atol": 5.0}
            for ours, theirs in zip(actual, wanted, strict=True):
                torch.testing.assert_close(ours.double(), theirs, **tolerance)

    def test_second_order_and_forward_mode_of_large_maps(self, monkeypatch):
        monkeypatch.setattr(coordinate_bias, "MAX_PLAIN_SUM_ELEMENTS", 0)
        layer = CoordConv2d(2, 2, 3).double()
        x = torch.randn(2, 2, 5, 4, dtype=torch.float64, requires_grad=True)

        def run(x, weight, bias, coord_weight):
            layer._parameters.update(weight=weight, bias=bias, coord_weight=coord_weight)
            return layer(x)

        inputs = (x, *(p.detach().requires_grad_() for p in layer.parameters()))
        assert torch.autograd.gradcheck(run, inputs, check_forward_ad=True)
        assert torch.autograd.gradgradcheck(run, inputs)


class CountOperators(TorchDispatchMode):
    """Counts the operators that reach the dispatcher."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def operators_of_a_step(layer, x):
    gradient = torch.randn_like(layer(x))
    x.grad = None
    layer.zero_grad()
    with CountOperators() as count:
        layer(x).backward(gradient)
    return count.names


class TestOperators:
    """What a launch-bound device pays for: operators of a training step, and reads that make the host wait."""

    @pytest.mark.parametrize("padding", [0, 1])
    def test_count(self, padding):
        """The bar is 17."""
        x = torch.randn(2, 8, 8, 8, requires_grad=True)
        assert len(operators_of_a_step(nn.Conv2d(8, 8, 3, padding=padding), x)) == 5
        assert len(operators_of_a_step(CoordConv2d(8, 8, 3, padding=padding), x)) <= 10

    def test_count_on_large_maps(self):
        x = torch.randn(4, 3, 64, 64, requires_grad=True)
        assert len(operators_of_a_step(CoordConv2d(3, 8, 7, stride=2, padding=3), x)) <= 40

    @pytest.mark.parametrize(
        "options", [{}, {"with_r": True}, {"encoding": FourierFeatures(2)}, {"padding_mode": "reflect"}]
    )
    @pytest.mark.parametrize("size", [8, 80])
    def test_nothing_is_read_back(self, options, size):
        layer = CoordConv2d(3, 4, 3, padding=1, **options)
        x = torch.randn(2, 3, size, size, requires_grad=True)
        names = operators_of_a_step(layer, x)
        with torch.no_grad(), CountOperators() as count:
            layer(x)
        reads = ("_local_scalar_dense", "item", "nonzero", "equal", "is_nonzero", "_to_copy")
        assert not [name for name in names + count.names if any(f"aten.{read}." in name for read in reads)]


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
