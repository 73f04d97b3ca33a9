"""Tests of gradients of CoordConv layers: first and second order, batched, forward mode, autocast, large maps."""

import pytest
import torch
import torch.autograd.forward_ad as forward_ad

from lightning_coordconv.layers import (
    CoordConv2d,
    FourierFeatures,
    coordinate_bias,
)
from tests.layers.test_coordinate_bias import LAYERS

from .oracle import concat_conv

# The first use of forward mode imports a module of torch that warns, in other words on Python 3.14
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is:FutureWarning")


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

    @pytest.mark.slow
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
                plain = coordinate_bias.encoded_coordinates((60, 50), False, None, None, x.device, torch.float64)
                coords = encoding(plain)
            oracle = concat_conv(x.double(), *parameters, layer, coords=coords)
            wanted = torch.autograd.grad(oracle, (parameters[0], parameters[2], parameters[1]), gradient.double())
            tolerance = {"rtol": 1e-3, "atol": 1e-2} if dtype == torch.float32 else {"rtol": 0.05, "atol": 5.0}
            for ours, theirs in zip(actual, wanted, strict=True):
                torch.testing.assert_close(ours.double(), theirs, **tolerance)

    @pytest.mark.slow
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
