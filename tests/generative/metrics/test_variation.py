"""Tests of the variation of generated images: by formula, on real, collapsed and degenerate sets."""

import pytest
import torch

from lightning_coordconv.generative import SampleVariation


def measure(preds, target, part=5):
    metric = SampleVariation(preds.shape[1:])
    for batch in zip(preds.split(part), target.split(part), strict=True):
        metric.update(*batch)
    return metric.compute().item()


@pytest.fixture
def real():
    return torch.rand(20, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_variation_by_the_formula(real):
    preds = torch.rand(20, 3, 4, 4, generator=torch.Generator().manual_seed(1)).pow(3)
    root_mean_square = [x.var(0, correction=0).mean().sqrt().item() for x in (preds, real)]
    assert measure(preds, real) == pytest.approx(root_mean_square[0] / root_mean_square[1], rel=1e-4)


def test_real_images_vary_as_much_as_themselves(real):
    assert measure(real.flip(0), real) == pytest.approx(1)


@pytest.mark.parametrize("level", [1.0, -1.0, 0.3])
def test_one_image_for_every_latent_vector_has_no_variation(real, level):
    assert measure(torch.full_like(real, level), real) < 1e-3


def test_one_image_with_details_has_no_variation_either(real):
    assert measure(real[:1].expand_as(real), real) < 1e-3


def test_without_two_different_real_images_it_is_nan(real):
    assert torch.tensor(measure(real[:1], real[1:2])).isnan()
    assert torch.tensor(measure(real, real[:1].expand_as(real))).isnan()
