"""Tests of the adversarial losses, the gradient penalty and feature matching, by hand."""

import math

import pytest
import torch

from lightning_coordconv.generative.losses import LOSSES, feature_distance, gradient_penalty

SOFTPLUS = {x: math.log(1 + math.exp(x)) for x in range(-3, 4)}


@pytest.mark.parametrize(
    ("name", "discriminator", "generator"),
    [
        ("non-saturating", SOFTPLUS[-2] + (SOFTPLUS[1] + SOFTPLUS[-3]) / 2, (SOFTPLUS[-1] + SOFTPLUS[3]) / 2),
        ("hinge", (0 + (2 + 0) / 2), -(1 - 3) / 2),
        ("least-squares", (1 + (1 + 9) / 2) / 2, (0 + 16) / 2 / 2),
    ],
)  # fmt: skip
def test_losses_by_hand(name, discriminator, generator):
    real, fake = torch.tensor([2.0, 2.0]), torch.tensor([1.0, -3.0])
    assert LOSSES[name].discriminator(real, fake).item() == pytest.approx(discriminator)
    assert LOSSES[name].generator(fake).item() == pytest.approx(generator)


def test_penalties_by_hand():
    images = torch.tensor([[1.0, 2.0], [3.0, 0.0]], requires_grad=True)
    assert gradient_penalty(images.square().sum(1), images).item() == pytest.approx((4 + 16 + 36) / 2)
    assert feature_distance(torch.tensor([[1.0, 3.0], [3.0, 3.0]]), torch.tensor([[0.0, 1.0]])).item() == 4 + 4
