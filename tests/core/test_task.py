"""Tests of the options ``compile`` and ``channels_last`` of tasks with one network."""

import pytest
import torch
from torch import nn

from lightning_coordconv.core import NetworkTask


class Halving(NetworkTask):
    """Learns to halve numbers."""

    def evaluate(self, batch):
        predicted = self.net(batch["x"]).flatten(1)
        return {"loss": predicted.square().mean(), "preds": predicted, "target": predicted}


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 3))


@pytest.mark.parametrize("options", [{"compile": True}, {"channels_last": True}], ids=str)
def test_options_change_neither_names_nor_results(options, monkeypatch):
    compiled = []
    whole = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **_: compiled.append(f) or whole(f, backend="eager"))
    plain, other = Halving(net(), {}), Halving(net(), {}, **options)
    assert len(compiled) == ("compile" in options)
    assert list(plain.state_dict()) == list(other.state_dict())
    x = torch.rand(2, 2, 8, 8)
    torch.testing.assert_close(other(x), plain(x))
    other.load_state_dict(plain.state_dict())
    Halving(net(), {}).load_state_dict(other.state_dict())


def test_channels_last_is_the_format_of_weights_and_activations():
    task = Halving(net(), {}, channels_last=True)
    assert task.net[0].weight.is_contiguous(memory_format=torch.channels_last)
    hidden = task.net[0](torch.rand(2, 2, 8, 8))
    assert hidden.is_contiguous(memory_format=torch.channels_last)
