"""Tests of layers on the meta device: materialising, loading without coordinate weights, and copies."""

import copy

import pytest
import torch
from torch import nn

from lightning_coordconv.layers import (
    CoordConv2d,
    to_coordconv,
)


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
