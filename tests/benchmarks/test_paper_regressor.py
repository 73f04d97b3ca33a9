"""Tests of the fast training of the paper's regressor: the network's outputs and gradients, and a run's errors."""

import torch
from torch.nn import functional as F

from benchmarks.paper_regressor import shortcut, train
from lightning_coordconv.coordinates import CoordConvRegressor, NotSoClevr


def test_shortcut_equals_the_network_and_its_gradients():
    torch.manual_seed(0)
    net = CoordConvRegressor()
    batch = NotSoClevr("all").__getitems__(torch.randperm(3136)[:32].tolist())
    target = batch["xy"] / 64
    gradients = []
    for predicted in (net(batch["onehot"]), shortcut(net, batch["xy"])):
        gradients.append([predicted, *torch.autograd.grad(F.mse_loss(predicted, target), list(net.parameters()))])
    for direct, short in zip(*gradients, strict=True):
        torch.testing.assert_close(short, direct, rtol=1e-4, atol=1e-5)


def test_a_run_reports_its_errors():
    run = train("quadrant", seed=0, epochs=1)
    assert (run["partition"], run["seed"]) == ("quadrant", 0)
    assert run["test"] > 1
