"""Tests of the feature metrics: Fréchet distance, precision and recall by formulas and loops, and feature networks."""

import pytest
import torch
from torch import nn

from lightning_coordconv.generative import SortOfClevr
from lightning_coordconv.generative.metrics.feature_metrics import FrechetDistance, PrecisionRecall, share_in_manifold
from lightning_coordconv.generative.metrics.features import FrozenFeatures, PooledPixels, RandomFeatures


def draw(count, shift=0.0, scale=1.0, seed=0, length=3):
    return torch.randn(count, length, generator=torch.Generator().manual_seed(seed)) * scale + shift


def in_parts(metric, preds, target):
    for part in zip(preds.split(70), target.split(70), strict=True):
        metric.update(*part)
    return metric.compute()


def test_frechet_distance_by_its_formula():
    preds, target = draw(200, shift=0.5, scale=2.0), draw(200, seed=1)
    means = [x.double().mean(0) for x in (preds, target)]
    first, second = (torch.cov(x.double().T) for x in (preds, target))
    values, vectors = torch.linalg.eigh(first)
    root = vectors @ values.sqrt().diag() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ second @ root).sqrt().sum()  # trace of the root, by a symmetric product
    expected = (means[0] - means[1]).square().sum() + first.trace() + second.trace() - 2 * cross
    assert in_parts(FrechetDistance(3), preds, target).item() == pytest.approx(expected.item(), rel=1e-4)


def test_frechet_distance_of_the_same_features_is_zero():
    assert in_parts(FrechetDistance(3), draw(200), draw(200)).item() == pytest.approx(0, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 3])
def test_manifold_by_loops(k):
    points, reference = draw(40, shift=0.7), draw(30, seed=1)
    covered = 0
    for point in points:
        inside = False
        for centre in reference:
            reach = sorted((centre - other).norm().item() for other in reference)[k]
            inside |= (point - centre).norm().item() <= reach
        covered += inside
    assert share_in_manifold(points, reference, k).item() == pytest.approx(covered / 40)


def test_features_far_from_zero_have_the_manifold_of_those_around_it():
    points, reference = draw(60, shift=0.7), draw(50, seed=1)
    shares = [share_in_manifold(points + far, reference + far, k=3).item() for far in (0.0, 10_000.0)]
    assert shares[1] == pytest.approx(shares[0], abs=0.02)
    assert shares[0] < 0.9


def test_collapse_costs_recall_and_noise_costs_precision():
    real = draw(300)
    same = in_parts(PrecisionRecall(), draw(300, seed=1), real)
    collapsed = in_parts(PrecisionRecall(), draw(300, seed=1, scale=0.05), real)
    spread = in_parts(PrecisionRecall(), draw(300, seed=1, scale=8.0), real)
    assert min(same["precision"], same["recall"]) > 0.8
    assert collapsed["precision"] > 0.95
    assert collapsed["recall"] < 0.05
    assert spread["precision"] < 0.3


def test_fewer_neighbours_than_k():
    assert in_parts(PrecisionRecall(k=5), draw(2), draw(2))["precision"] == 1
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        PrecisionRecall(k=0)


@pytest.mark.parametrize("count", [1, 0])
def test_fewer_than_two_images_are_nan(count):
    if count:
        assert FrechetDistance(3)(draw(1), draw(1)).isnan()
    assert PrecisionRecall()(draw(1), draw(1))["precision"].isnan()
    assert share_in_manifold(draw(4), draw(count), k=1).isnan()


def test_random_features_find_real_images_closest_and_empty_ones_farthest():
    sets = {split: SortOfClevr(split, 300, 32, 5).__getitems__(list(range(300)))["image"] for split in ("train", "val")}
    real = sets["val"]
    noise = torch.randn(real.shape, generator=torch.Generator().manual_seed(0))
    candidates = [
        sets["train"],  # other real images
        sets["train"].where(torch.arange(300)[:, None, None, None] % 4 > 0, 1.0),  # a quarter is empty
        sets["train"] + 0.3 * noise,
        torch.ones_like(real),
    ]
    net = RandomFeatures()
    distances = []
    for images in candidates:
        metric = FrechetDistance(128)
        metric.update(net(images), net(real))
        distances.append(metric.compute().item())
    assert distances[0] * 1.5 < min(distances[1:])
    assert max(distances) == distances[-1]


def test_random_features_depend_on_their_seed_only():
    image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, again, other = RandomFeatures(), RandomFeatures(), RandomFeatures(seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert first(image).shape == (2, 128)
    assert torch.equal(first(image), again(image))
    assert not torch.allclose(first(image), other(image))


def test_pooled_pixels():
    image = torch.arange(16.0).view(1, 1, 4, 4)
    assert PooledPixels(2)(image).tolist() == [[2.5, 4.5, 10.5, 12.5]]


def test_features_are_frozen():
    net = FrozenFeatures(nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.BatchNorm1d(2), nn.Dropout()))
    net.train()
    image = torch.randn(3, 1, 2, 2, requires_grad=True)
    first, again = net(image), net(image)
    assert torch.equal(first, again)
    assert not first.requires_grad
    assert not any(weight.requires_grad for weight in net.parameters())
    assert net.network[2].num_batches_tracked == 0


@pytest.mark.parametrize("rounded", [False, True])
def test_features_and_their_distances_are_not_rounded_in_mixed_precision(rounded):
    """Features that somebody else computed can be in bfloat16."""
    real, fake = draw(80, length=3 * 16 * 16).view(2, 40, 3, 16, 16).clamp(-1, 1)
    features = FrozenFeatures(RandomFeatures())
    expected = features(real)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(features(real), expected)
        assert features(real.bfloat16()).dtype == torch.float32
        pair = [features(images).bfloat16() if rounded else features(images) for images in (fake, real)]
        distance, manifold = FrechetDistance(pair[0].shape[1]), PrecisionRecall()
        distance.update(*pair)
        manifold.update(*pair)
        found = distance.compute()
    assert found != found.bfloat16()
    assert {value.dtype for value in (found, *manifold.compute().values())} == {torch.float32}
