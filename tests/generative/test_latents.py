"""Tests of latent vectors: one sequence for all ranks, distributions, binary values, interpolation, wrong arguments."""

import pytest
import torch

from lightning_coordconv.generative.latents import LatentSampler


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_ranks_together_draw_what_one_process_does(distribution):
    alone = LatentSampler(5, distribution, seed=3)
    shares = [LatentSampler(5, distribution, seed=3) for _ in range(3)]
    for _ in range(4):
        whole = alone.draw(12)
        parts = [sampler.draw(12, rank, 3) for rank, sampler in enumerate(shares)]
        assert torch.equal(torch.stack(parts, dim=1).flatten(0, 1), whole)
    assert all(torch.equal(alone.generator.get_state(), sampler.generator.get_state()) for sampler in shares)


@pytest.mark.parametrize("size", [4, 16, 20])
@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_vectors_do_not_depend_on_how_many_are_drawn_at_once(distribution, size):
    whole, parts = LatentSampler(size, distribution, seed=3), LatentSampler(size, distribution, seed=3)
    assert torch.equal(torch.cat([parts.draw(count) for count in (1, 3, 8)]), whole.draw(12))


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_vectors_do_not_depend_on_the_default_dtype(distribution):
    """Which is float64 within the steps of a run with ``--trainer.precision 64-true``."""
    expected = LatentSampler(5, distribution, seed=3, binary=1).draw(4)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(LatentSampler(5, distribution, seed=3, binary=1).draw(4), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_distributions():
    uniform, normal = (LatentSampler(4, name, seed=0).draw(20000) for name in ("uniform", "normal"))
    assert uniform.min() >= -1
    assert uniform.max() <= 1
    assert uniform.std().item() == pytest.approx(1 / 3**0.5, abs=0.01)
    assert (normal.mean().item(), normal.std().item()) == pytest.approx((0, 1), abs=0.01)


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_binary_latents_are_signs_and_change_halfway(distribution):
    sampler, plain = LatentSampler(5, distribution, seed=0, binary=2), LatentSampler(5, distribution, seed=0)
    vectors = sampler.draw(20000)
    assert set(vectors[:, :2].flatten().tolist()) == {-1.0, 1.0}
    assert torch.equal(vectors[:, 2:], plain.draw(20000)[:, 2:])
    assert vectors[:, :2].mean(0).abs().max() < 0.03
    assert (vectors[:, 0] * vectors[:, 1]).mean().abs() < 0.03
    start, end = torch.tensor([[-1.0, 1.0, 0.1, 0.2, 0.3]]), torch.tensor([[1.0, 1.0, 0.5, 0.6, 0.7]])
    path = sampler.interpolate(start, end, 6)[0]
    assert path[:, 0].tolist() == [-1.0] * 3 + [1.0] * 3
    assert path[:, 1].tolist() == [1.0] * 6
    assert torch.equal(path[:, 2:], plain.interpolate(start, end, 6)[0, :, 2:])


def test_the_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    LatentSampler(4, "normal", seed=0).draw(3)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_interpolations_start_and_end_at_the_vectors_and_keep_their_length(distribution):
    sampler = LatentSampler(4000, distribution, seed=0)
    start, end = sampler.draw(2), sampler.draw(2)
    path = sampler.interpolate(start, end, 5)
    assert path.shape == (2, 5, 4000)
    torch.testing.assert_close(path[:, 0], start)
    torch.testing.assert_close(path[:, -1], end)
    if distribution == "normal":
        assert path.std(-1).sub(1).abs().max() < 0.05
    else:
        torch.testing.assert_close(path[:, 2], (start + end) / 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, "normal", 0), "latent_size must be at least 1, got 0"),
        ((3, "normal", 0, 4), "binary_latents must be from 0 to latent_size, 3, got 4"),
        ((3, "cauchy", 0), "latent must be one of uniform, normal, got 'cauchy'"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        LatentSampler(*arguments)
