"""Tests of the entropy of pairs of circles and squares in images: real ones, sets without some pairs, empty ones."""

import math

import pytest
import torch

from lightning_coordconv.generative import ObjectKindEntropy, SortOfClevr


@pytest.fixture(scope="module")
def real() -> dict[str, torch.Tensor]:
    return SortOfClevr("train", 400, 32, 5).__getitems__(list(range(400)))


def entropy_of(circles: torch.Tensor) -> float:
    pairs = [tuple(pair) for pair in circles.tolist()]
    shares = [pairs.count(pair) / len(pairs) for pair in set(pairs)]
    return -sum(share * math.log(share) for share in shares)


def test_real_images_have_all_four_pairs(real):
    metric = ObjectKindEntropy(5)
    for part in real["image"].split(150):
        metric.update(part, part)
    measured = metric.compute()
    assert measured["entropy_kinds"] == measured["data_entropy_kinds"]
    assert measured["entropy_kinds"].item() == pytest.approx(entropy_of(real["circle"]), abs=2e-3)
    assert measured["entropy_kinds"].item() == pytest.approx(math.log(4), abs=0.02)


def test_missing_pairs_are_seen(real):
    unlike = real["image"][real["circle"].float().sum(1) == 1]
    metric = ObjectKindEntropy(5)
    metric.update(unlike, real["image"])
    assert metric.compute()["entropy_kinds"].item() == pytest.approx(math.log(2), abs=0.03)


def test_images_that_are_not_well_formed_do_not_count(real):
    metric = ObjectKindEntropy(5)
    metric.update(torch.ones(3, 3, 32, 32), real["image"][:1])
    measured = metric.compute()
    assert measured["entropy_kinds"].isnan()
    assert measured["data_entropy_kinds"] == 0
