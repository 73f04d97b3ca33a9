"""Data set and data module for tests that serve given samples, and a function that makes noise images."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.data import Dataset

from lightning_coordconv.core import BaseDataModule


class Samples(Dataset):
    def __init__(self, samples: list[Mapping[str, Any]]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        return self.samples[index]


class GivenDataModule(BaseDataModule):
    """Serves samples that a test made."""

    def __init__(self, samples: list[Mapping[str, Any]]) -> None:
        super().__init__()
        self.samples = samples

    def make_dataset(self, split: str) -> Samples:
        return Samples(self.samples)


def images(count: int, channels: int = 1, size: int = 32) -> list[torch.Tensor]:
    return list(torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(0)))
