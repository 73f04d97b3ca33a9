"""Tests of the GAN speed benchmark: the compared generators are equal, the plain loop trains, all loops are timed."""

import pytest
import torch

from benchmarks import gan
from lightning_coordconv.generative import ConvDiscriminator, CoordConvGenerator

SIZE = {"latent_size": 3, "canvas": 16, "width": 2, "batch": 2}


def test_the_concatenating_generator_is_the_same_function():
    generator = CoordConvGenerator(5, 12, 4)
    latent = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(gan.ConcatGenerator(generator)(latent), generator(latent), rtol=1e-4, atol=1e-5)


def test_the_plain_loop_trains_both_networks():
    loop = gan.PlainLoop(CoordConvGenerator(3, 16, 2), ConvDiscriminator(16, 2), latent_size=3, generator_steps=2)
    before = [[weight.clone() for weight in net.parameters()] for net in loop.networks]
    loop(torch.zeros(2, 3, 16, 16))
    for weights, net in zip(before, loop.networks, strict=True):
        assert not all(torch.equal(old, new) for old, new in zip(weights, net.parameters(), strict=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_loops_are_timed():
    found = gan.iterations("coordconv", SIZE, count=5, generator_steps=1)
    assert min(found["plain_ms"], found["task_ms"], found["speed"]) > 0
    assert set(gan.generators(SIZE, seconds=0.01)) == {"folded", "concatenated", "concatenated, channels last"}
