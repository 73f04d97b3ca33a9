"""Latent vectors that depend on the seed alone, on any number of ranks."""

from typing import Literal

import torch
from torch import Generator, Tensor

Distribution = Literal["uniform", "normal"]
DISTRIBUTIONS: tuple[Distribution, ...] = ("uniform", "normal")


class Noise:
    """One stream of random vectors that the ranks of a run share.

    Every rank draws the vectors of all ranks and takes its share of them, just as the samples of a batch are shared. So
    no two ranks ever get the same vectors, together they get those of a single process, and the state of the stream is
    the same on all of them. Vectors are drawn on the CPU: they are the same whatever the device.

    Args:
        size: length of a vector.
        distribution: ``"uniform"`` in [-1, 1], or standard ``"normal"``.
        seed: fixes the stream.
        binary: how many of a vector's numbers, the first ones, are -1 or 1 instead, a fair coin each.

    Raises:
        ValueError: for another distribution, an empty vector, and more binary numbers than there are numbers.
    """

    def __init__(self, size: int, distribution: Distribution, seed: int, binary: int = 0) -> None:
        if distribution not in DISTRIBUTIONS:
            raise ValueError(f"the latent distribution must be one of {DISTRIBUTIONS}, got {distribution!r}")
        if size < 1:
            raise ValueError(f"latent_size must be at least 1, got {size}")
        if not 0 <= binary <= size:
            raise ValueError(f"binary_latents must be from 0 to latent_size, {size}, got {binary}")
        self.size = size
        self.distribution = distribution
        self.binary = binary
        self.generator = Generator().manual_seed(seed)

    def draw(self, count: int, rank: int = 0, ranks: int = 1) -> Tensor:
        """Return a rank's share (count, size) of the next ``count * ranks`` vectors."""
        shape = (count, ranks, self.size)
        if self.distribution == "normal":
            vectors = torch.randn(shape, generator=self.generator)
        else:
            vectors = torch.rand(shape, generator=self.generator).mul_(2).sub_(1)
        coins = vectors[..., : self.binary]
        coins.copy_(torch.where(coins < 0, -1.0, 1.0))
        return vectors[:, rank]

    def between(self, start: Tensor, end: Tensor, frames: int) -> Tensor:
        """Return vectors on the way from one to another, as probable as these are.

        The way is straight in the cube of uniform vectors. Between normal ones it is scaled to keep their variance.
        Binary numbers change halfway.

        Args:
            start: (P, size).
            end: (P, size).
            frames: number T of vectors on each way, ends included.

        Returns:
            Vectors (P, T, size).
        """
        share = torch.linspace(0, 1, frames, device=start.device, dtype=start.dtype)[:, None]
        vectors = torch.lerp(start[:, None], end[:, None], share)
        if self.distribution == "normal":
            vectors = vectors / (share.square() + (1 - share).square()).sqrt()
        coins = torch.where(share < 0.5, start[:, None, : self.binary], end[:, None, : self.binary])
        return torch.cat([coins, vectors[..., self.binary :]], dim=-1)
