"""Tests of the metrics of objects: entropy and divergence of positions, flaws, on real, collapsed and noise images."""

import math
from collections import Counter

import pytest
import torch

from lightning_coordconv.generative import SortOfClevr
from lightning_coordconv.generative.metrics.object_flaws import ObjectFlaws
from lightning_coordconv.generative.metrics.object_positions import ObjectPositionDivergence, ObjectPositionEntropy
from lightning_coordconv.generative.metrics.position_histograms import coverage, divergence, entropy, position_histogram


def images(split, count=1000, size=64, radius=10, seed=0):
    return SortOfClevr(split, count, size, radius, seed=seed).__getitems__(list(range(count)))["image"]


@pytest.fixture(scope="module")
def real():
    return images("test")


def measure(metric, preds, target):
    for part in zip(preds.split(300), target.split(300), strict=True):
        metric.update(*part[: 1 if isinstance(metric, ObjectFlaws) else 2])
    return {name: value.item() for name, value in metric.compute().items()}


def test_histogram_against_counting():
    generator = torch.Generator().manual_seed(0)
    positions = torch.rand(200, 2, generator=generator) * 12 - 6
    positions[3, 0] = math.nan
    counts = Counter(
        (min(max(math.floor((y + 5) / 2.5), 0), 3), min(max(math.floor((x + 5) / 2.5), 0), 3))
        for x, y in positions.tolist() if not math.isnan(x)
    )  # fmt: skip
    histogram = position_histogram(positions, (-5, 5), bins=4)
    assert {(i, j): n for i, row in enumerate(histogram.tolist()) for j, n in enumerate(row) if n} == counts


def test_entropy_and_divergence_by_hand():
    assert entropy(torch.tensor([[1, 1], [1, 1]])).item() == pytest.approx(math.log(4))
    assert entropy(torch.zeros(3, dtype=torch.long)).isnan()

    assert divergence(torch.tensor([6, 0, 1]), torch.tensor([0, 6, 1])).item() == pytest.approx(
        sum(a * math.log(a / b) for a, b in ((6.5 / 8.5, 0.5 / 8.5), (0.5 / 8.5, 6.5 / 8.5), (1.5 / 8.5, 1.5 / 8.5)))
    )

    assert divergence(torch.tensor([4, 2]), torch.tensor([4, 2])) == 0
    assert coverage(torch.tensor([1, 0, 2]), torch.tensor([1, 1, 0])).item() == 0.5


@pytest.mark.slow
def test_real_images_have_the_entropies_of_the_paper(real):
    """4.0, 4.0 and 3.5 nats, for 1,000 images of 64 x 64."""
    found = measure(ObjectPositionEntropy(10), images("train"), real)
    for kind in ("entropy", "data_entropy"):
        assert round(found[f"{kind}_red"], 1) == 4.0
        assert round(found[f"{kind}_blue"], 1) == 4.0
        assert round(found[f"{kind}_difference"], 1) == 3.5


@pytest.mark.slow
def test_real_images_are_close_to_real_ones(real):
    found = measure(ObjectPositionDivergence(10), images("train"), real)
    assert found["kl"] < 0.12  # what 1,000 images leave
    assert min(found[f"coverage_{name}"] for name in ("red", "blue", "difference")) > 0.9
    assert measure(ObjectFlaws(10), images("train"), real) == {
        "well_formed": 1, "missing": 0, "extra": 0, "broken": 0
    }  # fmt: skip


@pytest.mark.slow
def test_a_collapsed_set_is_found_out(real):
    collapsed = images("train", count=3).repeat(334, 1, 1, 1)[:1000]
    entropies = measure(ObjectPositionEntropy(10), collapsed, real)
    assert entropies["entropy_red"] <= math.log(3) + 1e-3
    assert round(entropies["data_entropy_red"], 1) == 4.0
    found = measure(ObjectPositionDivergence(10), collapsed, real)
    assert found["kl"] > 2
    assert found["coverage_red"] < 0.06
    assert measure(ObjectFlaws(10), collapsed, real)["well_formed"] == 1


@pytest.mark.slow
def test_noise_is_far_from_real_however_it_spreads(real):
    noise = torch.rand(1000, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = measure(ObjectPositionDivergence(10), noise, real)
    assert found["kl"] > 4
    assert found["coverage_blue"] == 0
    assert measure(ObjectFlaws(10), noise, real)["well_formed"] == 0


def test_images_without_objects_are_nan_not_perfect(real):
    """As with photographs: neither real nor generated images have objects."""
    blank = torch.ones(50, 3, 64, 64)
    assert all(math.isnan(value) for value in measure(ObjectPositionDivergence(10), blank, blank).values())
    assert all(math.isnan(value) for value in measure(ObjectPositionEntropy(10), blank, blank).values())


@pytest.mark.slow
def test_a_generator_of_empty_images_is_far_from_real_ones(real):
    blank = torch.ones(1000, 3, 64, 64)
    found = measure(ObjectPositionDivergence(10), blank, real)
    assert found["kl"] > 4
    assert found["coverage_red"] == 0
    assert math.isnan(measure(ObjectPositionEntropy(10), blank, real)["entropy_red"])


@pytest.mark.slow
def test_half_the_images_flawed(real):
    flawed = images("train")
    flawed[::2, :] = 1  # blank
    found = measure(ObjectFlaws(10), flawed, real)
    assert (found["well_formed"], found["missing"]) == (0.5, 0.5)
    assert round(measure(ObjectPositionEntropy(10), flawed, real)["entropy_red"], 1) in (3.9, 4.0)
    assert measure(ObjectPositionDivergence(10), flawed, real)["kl"] > 2


@pytest.mark.slow
@pytest.mark.parametrize("metric", [ObjectPositionEntropy, ObjectPositionDivergence, ObjectFlaws])
def test_parts_add_up(metric, real):
    """What ranks do: states of parts are summed."""
    fake = images("train")
    whole, first, second = (metric(10) for _ in range(3))
    for part, chosen in ((whole, slice(None)), (first, slice(300)), (second, slice(300, None))):
        part.update(*(tensor[chosen] for tensor in ((fake, real) if metric is not ObjectFlaws else (fake,))))
    for state in first._defaults:
        assert first._reductions[state] is torch.sum or first._reductions[state].__name__ == "dim_zero_sum"
        setattr(first, state, getattr(first, state) + getattr(second, state))
    assert first.compute() == whole.compute()
