"""Tests of fusing batch norm into a layer: equal outputs; layers, norms, hooks and foreign fusions that are refused."""

import copy

import pytest
import torch
from timm.layers import BatchNormAct2d, StdConv2d
from torch import nn
from torch.fx.experimental import optimization
from torch.nn.utils import fusion, parametrizations, prune

from lightning_coordconv.layers import CoordConv2d, FourierFeatures, fold_coordconv, fuse_conv_bn, to_coordconv
from tests.layers.nets import KINDS

CLOSE = {"rtol": 1e-4, "atol": 1e-4}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def trained_norm(n, channels, **options):
    torch.manual_seed(1)
    bn = NORMS[n](channels, **options).eval()
    bn.running_mean.normal_()
    bn.running_var.uniform_(0.5, 4.0)
    for parameter in bn.parameters():
        nn.init.normal_(parameter)
    return bn


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_is_exact(kind, groups, bias, fold, affine):
    torch.manual_seed(0)
    n = int(kind.__name__[-2])
    conv = kind(4, 6, 3, stride=2, padding=1, groups=groups, bias=bias, with_r=n == 2).eval()
    bn = trained_norm(n, 6, affine=affine)
    x = torch.randn(2, 4, *(7, 6, 5)[:n])
    wanted = bn(conv(x))
    conv = fold_coordconv(conv, x) if fold else conv
    state = copy.deepcopy(conv.state_dict())
    fused = fuse_conv_bn(conv, bn)
    torch.testing.assert_close(fused(x), wanted, **CLOSE)
    assert all(torch.equal(value, state[name]) for name, value in conv.state_dict().items())
    assert type(fused) is type(conv)


@pytest.mark.parametrize(
    "make", [lambda: nn.Conv2d(4, 6, 3), lambda: nn.ConvTranspose2d(4, 6, 3, groups=2, bias=False)]
)
def test_plain_convolutions(make):
    conv, bn, x = make().eval(), trained_norm(2, 6), torch.randn(2, 4, 7, 6)
    torch.testing.assert_close(fuse_conv_bn(conv, bn)(x), bn(conv(x)), **CLOSE)


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
@pytest.mark.parametrize("change", ["prune", "weight_norm", "spectral_norm"])
@pytest.mark.parametrize("name", ["weight", "coord_weight"])
def test_weights_that_are_results_of_operations(change, name):
    """Of a layer that has just been trained: torch refuses to copy it."""
    conv, bn = CoordConv2d(3, 4, 3), trained_norm(2, 4)
    if change == "prune":
        prune.l1_unstructured(conv, name, 0.5)
    else:
        getattr(nn.utils, change)(conv, name)
    x = torch.randn(2, 3, 8, 8)
    conv(x).sum().backward()
    conv.eval()
    expected = conv(x)
    torch.testing.assert_close(fuse_conv_bn(conv, bn)(x), bn(expected), **CLOSE)
    folded = fold_coordconv(conv, x)
    torch.testing.assert_close(folded(x), expected, **CLOSE)
    assert all(parameter.is_leaf for parameter in folded.parameters())


def test_encodings_and_parametrized_weights():
    bn, x = trained_norm(2, 6), torch.randn(2, 4, 7, 6)
    conv = CoordConv2d(4, 6, 3, encoding=FourierFeatures(2)).eval()
    torch.testing.assert_close(fuse_conv_bn(conv, bn)(x), bn(conv(x)), **CLOSE)
    conv = parametrizations.weight_norm(CoordConv2d(4, 6, 3)).eval()
    torch.testing.assert_close(fuse_conv_bn(conv, bn)(x), bn(conv(x)), **CLOSE)


class TestRefused:
    @pytest.mark.parametrize("fold", [False, True])
    @pytest.mark.parametrize("bias", [False, True])
    def test_torchs_own_fusion(self, fold, bias):
        conv, bn, x = CoordConv2d(3, 4, 3, bias=bias).eval(), trained_norm(2, 4), torch.randn(2, 3, 8, 8)
        conv = fold_coordconv(conv, x) if fold else conv
        with pytest.raises(RuntimeError, match=r"does not scale the coordinate bias.*fuse_conv_bn"):
            fusion.fuse_conv_bn_eval(conv, bn)
        model = nn.Sequential(conv, bn)  # torch.fx fuses torch's own classes only
        torch.testing.assert_close(optimization.fuse(model)(x), model(x))

    @pytest.mark.parametrize("fold", [False, True])
    @pytest.mark.parametrize("bias", [False, True])
    def test_fusions_of_other_libraries_that_set_weight_and_bias(self, fold, bias):
        """Ultralytics fuses the whole model so whenever it predicts or validates."""
        namespace = {"__name__": "ultralytics.utils.torch_utils", "weights": fusion.fuse_conv_bn_weights}
        code = "def fuse_conv_and_bn(conv, bn):\n"
        code += "    statistics = bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias\n"
        code += "    conv.weight, conv.bias = weights(conv.weight, conv.bias, *statistics)\n"
        exec(code, namespace)
        conv, x = CoordConv2d(3, 4, 3, bias=bias).eval(), torch.randn(2, 3, 8, 8)
        conv = fold_coordconv(conv, x) if fold else conv
        with pytest.raises(RuntimeError, match=r"ultralytics.* does not scale the coordinate bias.*fuse_conv_bn"):
            namespace["fuse_conv_and_bn"](conv, trained_norm(2, 4))

    def test_batch_norm_that_does_more(self):
        """timm's batch norms hold an activation, which would be lost."""
        with pytest.raises(TypeError, match="bn is a BatchNormAct2d, whose forward is not that of torch's batch norm"):
            fuse_conv_bn(CoordConv2d(3, 4, 3).eval(), BatchNormAct2d(4).eval())

    @pytest.mark.parametrize("where", ["after the convolution", "before batch norm", "after batch norm"])
    def test_hooks_that_act_in_between(self, where):
        conv, bn = CoordConv2d(3, 4, 3).eval(), nn.BatchNorm2d(4).eval()
        if where == "before batch norm":
            bn.register_forward_pre_hook(lambda module, args: None)
        else:
            (conv if "convolution" in where else bn).register_forward_hook(lambda module, args, out: 2 * out)
        with pytest.raises(ValueError, match="a forward hook acts on the output of"):
            fuse_conv_bn(conv, bn)

    def test_other_assignments_are_not(self):
        layer = CoordConv2d(3, 4, 3, bias=False).eval()
        layer.weight = nn.Parameter(torch.zeros_like(layer.weight))
        layer.bias = nn.Parameter(torch.ones(4))
        assert layer(torch.zeros(1, 3, 3, 3)).shape == (1, 4, 1, 1)

    def test_weights_that_are_standardised(self):
        with pytest.raises(TypeError, match="cannot fuse batch norm into CoordStdConv2d"):
            fuse_conv_bn(to_coordconv(StdConv2d(3, 4, 3)).eval(), trained_norm(2, 4))

    @pytest.mark.parametrize("convert", [False, True])
    def test_a_class_with_another_call(self, convert):
        class Doubled(nn.Conv2d):
            def __call__(self, *args):
                return 2 * super().__call__(*args)

        class DoubledNorm(nn.BatchNorm2d):
            __call__ = Doubled.__call__

        conv = to_coordconv(Doubled(3, 4, 3)).eval() if convert else Doubled(3, 4, 3).eval()
        with pytest.raises(TypeError, match=r"Doubled\w* overrides __call__, which can change its output"):
            fuse_conv_bn(conv, trained_norm(2, 4))
        with pytest.raises(TypeError, match=r"DoubledNorm overrides __call__"):
            fuse_conv_bn(nn.Conv2d(3, 4, 3).eval(), DoubledNorm(4).eval())

    @pytest.mark.parametrize(
        ("conv", "bn", "error", "match"),
        [
            (nn.Linear(3, 4), nn.BatchNorm2d(4), TypeError, "cannot fuse batch norm into Linear"),
            (CoordConv2d(3, 4, 3), nn.BatchNorm2d(4), ValueError, r"call eval\(\)"),
            (
                CoordConv2d(3, 4, 3).eval(),
                nn.BatchNorm2d(5).eval(),
                ValueError,
                "has 5 channels, but the convolution has 4",
            ),
            (
                CoordConv2d(3, 4, 3).eval(),
                nn.BatchNorm2d(4, track_running_stats=False).eval(),
                ValueError,
                "no running statistics",
            ),
        ],
    )
    def test_what_makes_no_sense(self, conv, bn, error, match):
        with pytest.raises(error, match=match):
            fuse_conv_bn(conv, bn)
