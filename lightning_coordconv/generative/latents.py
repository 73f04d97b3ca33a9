"""Class that draws random latent vectors and makes paths between them, the same for any number of ranks."""

from typing import Literal

import torch
from torch import Generator, Tensor

Distribution = Literal["uniform", "normal"]
DISTRIBUTIONS: tuple[Distribution, ...] = ("uniform", "normal")
FIXED_LATENTS = 64
"""Number of latent vectors that stay the same during a run, for figures."""
BLOCK = 16
"""Number of normal values that torch makes at once: with other numbers a sequence depends on how it is divided."""


class LatentSampler:
    """Draws latent vectors from one random stream that all ranks of a run share.

    Every rank draws the vectors of all ranks and keeps its share of them, as it does with the samples of a batch. So no
    two ranks get the same vectors, together they get those of a single process, and the state of the stream is the same
    on all ranks. Vectors do not depend on how many are drawn at once. They are drawn on the CPU, in float32: they are
    the same whatever the device and the precision.

    Args:
        size: length of a vector, at least 1.
        distribution: ``"uniform"`` in [-1, 1], or standard ``"normal"``.
        seed: fixes the stream.
        binary: number of elements, the first ones of each vector, that are -1 or 1 with equal probability instead.

    Raises:
        ValueError: for another distribution, an empty vector, or more binary elements than there are elements.
    """

    def __init__(self, size: int, distribution: Distribution, seed: int, binary: int = 0) -> None:
        if distribution not in DISTRIBUTIONS:
            raise ValueError(f"latent must be one of {', '.join(DISTRIBUTIONS)}, got {distribution!r}")
        if size < 1:
            raise ValueError(f"latent_size must be at least 1, got {size}")
        if not 0 <= binary <= size:
            raise ValueError(f"binary_latents must be from 0 to latent_size, {size}, got {binary}")
        self.size = size
        self.distribution = distribution
        self.binary = binary
        self.generator = Generator().manual_seed(int(seed))  # torch refuses the integers of NumPy

    def draw(self, count: int, rank: int = 0, ranks: int = 1) -> Tensor:
        """Return every ``ranks``-th of the next ``count`` vectors (n, size), from ``rank`` on; float32, on the CPU."""
        if self.distribution == "normal":
            length = -(-self.size // BLOCK) * BLOCK
            drawn = torch.randn(count, length, generator=self.generator, dtype=torch.float32)
            vectors = drawn[:, : self.size]
        else:
            shape = (count, self.size)
            vectors = torch.rand(shape, generator=self.generator, dtype=torch.float32).mul_(2).sub_(1)
        binary = vectors[:, : self.binary]
        binary.copy_(torch.where(binary < 0, -1.0, 1.0))
        return vectors[rank::ranks]

    def interpolate(self, start: Tensor, end: Tensor, frames: int) -> Tensor:
        """Return vectors between two others, each as probable as a drawn one.

        Uniform vectors are interpolated linearly. Normal ones are also scaled, so that their variance stays 1. Binary
        elements change halfway.

        Args:
            start: (P, size).
            end: (P, size).
            frames: number T of vectors from start to end, both included.

        Returns:
            Vectors (P, T, size).
        """
        share = torch.linspace(0, 1, frames, device=start.device, dtype=start.dtype)[:, None]
        vectors = torch.lerp(start[:, None], end[:, None], share)
        if self.distribution == "normal":
            vectors = vectors / (share.square() + (1 - share).square()).sqrt()
        binary = torch.where(share < 0.5, start[:, None, : self.binary], end[:, None, : self.binary])
        return torch.cat([binary, vectors[..., self.binary :]], dim=-1)
