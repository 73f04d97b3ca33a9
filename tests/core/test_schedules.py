"""Tests of the warm-up and cosine schedule: rates by hand, restoring, prolonged runs, and wrong numbers of steps."""

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from lightning_coordconv.core import warmup_cosine
from lightning_coordconv.core.checkpoints import CheckpointError


def test_each_group_keeps_its_own_rate():
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in (1.0, 10.0)]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    schedule = warmup_cosine(optimizer, total_steps=7, warmup_steps=3)
    rates = []
    for _ in range(8):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    expected = [1 / 4, 1 / 2, 3 / 4, 1.0, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5, 0.0]
    assert [rate for rate, _ in rates] == pytest.approx(expected)
    assert [rate for _, rate in rates] == pytest.approx([10 * rate for rate in expected])


def test_without_a_warm_up_the_first_rate_is_the_optimiser_s():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    schedule = warmup_cosine(optimizer, total_steps=2)
    rates = []
    for _ in range(3):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([2.0, 1.0, 0.0])


def test_a_schedule_that_is_restored_continues():
    def build() -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        return optimizer, warmup_cosine(optimizer, total_steps=9, warmup_steps=4)

    for stop in range(9):
        (optimizer, schedule), (later, restored) = build(), build()
        for step in range(9):
            if step == stop:
                restored.load_state_dict(schedule.state_dict())
                later.load_state_dict(optimizer.state_dict())
            optimizer.step()
            schedule.step()
            if step >= stop:
                later.step()
                restored.step()
                assert later.param_groups[0]["lr"] == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)


def test_a_run_that_is_prolonged_has_the_rates_of_the_longer_one():
    """The rates fall to the end: those of a cosine that ended earlier would rise again."""
    rates = {}
    for first in (4, 8):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        schedule = warmup_cosine(optimizer, total_steps=first, warmup_steps=2)
        rates[first] = []
        for step in range(8):
            if step == 4:
                state, schedule = schedule.state_dict(), warmup_cosine(optimizer, total_steps=8, warmup_steps=2)
                schedule.load_state_dict(state)
            optimizer.step()
            schedule.step()
            rates[first].append(optimizer.param_groups[0]["lr"])
    assert rates[4][4:] == pytest.approx(rates[8][4:])
    assert rates[8][4:] == sorted(rates[8][4:], reverse=True)
    assert rates[8][-1] == pytest.approx(0.0)


@pytest.mark.parametrize("warmup", [0, 2])
def test_the_state_of_an_earlier_release_is_refused_with_a_way_out(warmup):
    """It was made of torch's schedules."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    earlier = CosineAnnealingLR(optimizer, T_max=4 - warmup)
    if warmup:
        earlier = SequentialLR(optimizer, [LinearLR(optimizer), earlier], milestones=[warmup])
    with pytest.raises(
        CheckpointError,
        match=r"another schedule, as of an earlier release, .*: begin a new run; in Python, load\(FILE\)",
    ):
        warmup_cosine(optimizer, 4, warmup).load_state_dict(earlier.state_dict())


@pytest.mark.parametrize(("total", "warmup"), [(5, 5), (5, -1), (0, 0)])
def test_wrong_steps_are_named(total, warmup):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    with pytest.raises(ValueError, match=f"expected 0 <= warmup_steps < total_steps, got {warmup} and {total}"):
        warmup_cosine(optimizer, total, warmup)
