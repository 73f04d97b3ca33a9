"""Tests of layers with weight norm, spectral norm or pruned weights: loading checkpoints, and folding."""

import pytest
import torch
import torch.nn.utils.prune as prune
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from lightning_coordconv.layers import (
    CoordConv1d,
    CoordConv2d,
    fold_coordconv,
    to_coordconv,
)


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
