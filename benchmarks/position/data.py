"""Data set and data module of the position benchmark, whose samples a function generates."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Generator, Tensor
from torch.utils.data import Dataset

from lightning_coordconv.core import BaseDataModule
from lightning_coordconv.core.data import Split

Tensors = Mapping[str, Tensor]
Make = Callable[[Split, Generator], Tensors]
SPLITS: tuple[Split, ...] = ("train", "val", "test", "predict")


class TensorSamples(Dataset[dict[str, Any]]):
    """Samples that are rows of tensors. A sample's ``path``, by which predictions name it, is its number."""

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = tensors

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {key: values[0] for key, values in self.__getitems__([index]).items()}

    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        """Return a whole batch at once; torch's loaders call this in place of ``__getitem__``."""
        rows: dict[str, Any] = {key: values[indices] for key, values in self.tensors.items()}
        return {**rows, "path": [f"{index:05}" for index in indices]}


class GeneratedDataModule(BaseDataModule):
    """Data that a function makes.

    Args:
        make: returns the samples of a split as tensors with one row for each, given the split and a generator.
        batch_size: samples in an optimiser step.
        eval_batch_size: the same for validation, test and prediction.
        seed: of the samples, and of their order in training. Each split has a separate random stream.
    """

    whole_batches = True

    def __init__(self, make: Make, batch_size: int = 32, eval_batch_size: int = 100, seed: int = 0) -> None:
        super().__init__(batch_size, eval_batch_size, seed=seed)
        self.make = make
        self.sample_keys = frozenset(self.dataset("val")[0])

    def make_dataset(self, split: Split) -> TensorSamples:
        """Make the samples of a split."""
        generator = Generator().manual_seed(self.seed + 1_000_003 * (1 + SPLITS.index(split)))
        return TensorSamples(self.make(split, generator))
