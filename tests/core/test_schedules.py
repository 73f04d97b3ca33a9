"""Tests of schedules: rates by hand, restoring, older states, wrong steps, rates of groups, plateaus of metrics."""

from functools import partial

import pytest
import torch
from pytorch_lightning.cli import ReduceLROnPlateau as MonitoredPlateau
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    CyclicLR,
    LambdaLR,
    LinearLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from lightning_coordconv.classification import ImageClassification, PooledClassifier
from lightning_coordconv.core import warmup_cosine
from lightning_coordconv.core.checkpoints import CheckpointError
from lightning_coordconv.core.schedules import schedule_groups
from lightning_coordconv.generative import GAN, ConvDiscriminator, CoordConvGenerator


def optimizer_of(rates):
    """Return an optimiser with a group of each rate."""
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": rate} for rate in rates]
    return torch.optim.SGD(groups, lr=1.0, momentum=0.9)


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
        match=r"another schedule, as of an earlier release, .*: begin a new run; in Python, load_from_checkpoint",
    ):
        warmup_cosine(optimizer, 4, warmup).load_state_dict(earlier.state_dict())


@pytest.mark.parametrize(("total", "warmup"), [(5, 5), (5, -1), (0, 0)])
def test_wrong_steps_are_named(total, warmup):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    with pytest.raises(ValueError, match=f"expected 0 <= warmup_steps < total_steps, got {warmup} and {total}"):
        warmup_cosine(optimizer, total, warmup)


@pytest.mark.parametrize(
    "build",
    [partial(OneCycleLR, max_lr=0.1, total_steps=9), partial(CyclicLR, base_lr=0.1, max_lr=0.2)],
)
def test_a_schedule_that_gives_all_groups_one_rate_is_refused(build):
    """A multiple of the rate for some weights would be lost without a word."""
    optimizer = optimizer_of([0.1, 1.0])
    with pytest.raises(ValueError, match=r"give all 2 parameter groups one learning rate, but theirs are 0.1, 1: give"):
        schedule_groups(optimizer, build)
    schedule_groups(optimizer_of([0.1, 0.1]), build)


@pytest.mark.parametrize(
    "build",
    [
        partial(OneCycleLR, max_lr=[0.1, 1.0], total_steps=9),
        partial(StepLR, step_size=2),
        partial(LambdaLR, lr_lambda=lambda step: float(step > 0)),
    ],
)
def test_schedules_that_keep_the_ratio_of_rates_are_built(build):
    optimizer = optimizer_of([0.1, 1.0])
    schedule = schedule_groups(optimizer, build)
    optimizer.step()
    schedule.step()
    first, second = (group["lr"] for group in optimizer.param_groups)
    assert second == pytest.approx(10 * first)


@pytest.mark.parametrize("follower", [ReduceLROnPlateau, partial(MonitoredPlateau, monitor="val/top1")])
def test_a_plateau_of_an_accuracy_is_that_of_its_greatest_value(follower):
    """With torch's default, the rate would fall for as long as the accuracy rises."""
    with pytest.raises(
        ValueError, match="mode of ReduceLROnPlateau must be 'max', since a maximum of val/top1 is best"
    ):
        ImageClassification(PooledClassifier(2), lr_scheduler=follower).configure_optimizers()
    task = ImageClassification(PooledClassifier(2), lr_scheduler=partial(follower, mode="max"))
    assert task.configure_optimizers()["lr_scheduler"]["monitor"] == "val/top1"


def test_a_plateau_follows_the_metric_that_it_names():
    task = ImageClassification(PooledClassifier(2), lr_scheduler=partial(MonitoredPlateau, monitor="val/loss"))
    assert task.configure_optimizers()["lr_scheduler"]["monitor"] == "val/loss"
    task = ImageClassification(
        PooledClassifier(2), lr_scheduler=partial(MonitoredPlateau, monitor="val/loss", mode="max")
    )
    with pytest.raises(ValueError, match="must be 'min', since a minimum of val/loss is best"):
        task.configure_optimizers()


def test_a_gan_follows_no_metric():
    generator, discriminator = CoordConvGenerator(2, 8, 2), ConvDiscriminator(8, 2)
    task = GAN(generator, discriminator, latent_size=2, lr_scheduler=ReduceLROnPlateau)
    with pytest.raises(ValueError, match="cannot be ReduceLROnPlateau"):
        task.check()
