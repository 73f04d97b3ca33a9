"""Test of the list of the slowest operators of a training step: operators and how often they are called."""

import torch

from benchmarks import operators
from lightning_coordconv.layers import CoordConv2d


def test_operators_of_a_step(monkeypatch):
    monkeypatch.setattr(operators, "STEPS", 2)
    found = {name: calls for name, _, calls in operators.operators(CoordConv2d(1, 2, 3), torch.randn(2, 1, 6, 6))}
    assert found["aten::convolution_backward"] == 2  # of the input, and of the coordinate grid
