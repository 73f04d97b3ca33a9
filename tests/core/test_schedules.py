"""Warm-up and cosine, numbers by hand."""

import pytest
import torch

from lightning_coordconv.core import WarmupCosine


def test_each_group_keeps_its_own_rate():
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in (1.0, 10.0)]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    schedule = WarmupCosine(optimizer, total_steps=7, warmup_steps=3)
    rates = []
    for _ in range(8):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    expected = [1 / 4, 1 / 2, 3 / 4, 1.0, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5, 0.0]
    assert [rate for rate, _ in rates] == pytest.approx(expected)
    assert [rate for _, rate in rates] == pytest.approx([10 * rate for rate in expected])


@pytest.mark.parametrize(("total", "warmup"), [(5, 5), (5, -1), (0, 0)])
def test_wrong_steps_are_named(total, warmup):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    with pytest.raises(ValueError, match=f"expected 0 <= warmup_steps < total_steps, got {warmup} and {total}"):
        WarmupCosine(optimizer, total, warmup)
