"""The data layer that every domain shares: seeded splits, one batch size for any number of ranks."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pytorch_lightning import LightningDataModule
from pytorch_lightning.overrides.distributed import UnrepeatedDistributedSampler
from torch import Generator
from torch.utils.data import DataLoader, Dataset, default_collate

from lightning_coordconv.core.loading import ResumableDataLoader, TrainingSampler

Split = Literal["train", "val", "test", "predict"]


class BaseDataModule(LightningDataModule):
    """Data sets by split, and the loaders over them.

    A subclass implements :meth:`make_dataset`; samples are dicts whose keys it declares in ``sample_keys``.
    Shuffling depends on ``seed`` and the epoch alone, so two runs see the same batches, and together the ranks of a
    distributed run see the batches of a single process; no sample is ever repeated to fill a batch. A run that is
    resumed within an epoch goes on with the batches that are left of it.

    Args:
        batch_size: samples in an optimiser step, over all ranks together.
        eval_batch_size: the same for validation, test and prediction; ``batch_size`` by default.
        num_workers: loading processes per rank.
        seed: fixes the split and the order of the training samples.

    Raises:
        ValueError: for sizes that are not positive or cannot be divided among the ranks.
    """

    sample_keys: ClassVar[frozenset[str]] = frozenset()
    whole_batches: ClassVar[bool] = False
    """Whether the data sets' ``__getitems__`` returns a whole batch, so that there is nothing left to collate."""
    worker_timeout: ClassVar[float] = 600.0
    """Seconds after which loading processes that have delivered nothing count as stuck."""
    drop_last: ClassVar[bool] = False
    """Whether training samples that do not fill a batch are left out of the epoch."""

    def __init__(
        self, batch_size: int = 16, eval_batch_size: int | None = None, num_workers: int = 0, seed: int = 0
    ) -> None:
        super().__init__()
        for name, size in (("batch_size", batch_size), ("eval_batch_size", eval_batch_size)):
            if size is not None and size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        if num_workers < 0:
            raise ValueError(f"num_workers must not be negative, got {num_workers}")
        self.batch_size = batch_size
        self.eval_batch_size = batch_size if eval_batch_size is None else eval_batch_size
        self.num_workers = num_workers
        self.seed = seed
        self._datasets: dict[Split, Dataset[Any]] = {}

    @staticmethod
    def collate(samples: list[Any]) -> Any:
        """Make a batch of samples: tensors are stacked."""
        return default_collate(samples)

    def make_dataset(self, split: Split) -> Dataset[Any]:
        """Build the data set of a split."""
        raise NotImplementedError(f"{type(self).__name__} must implement make_dataset(split)")

    def dataset(self, split: Split) -> Dataset[Any]:
        """Return the data set of a split, built on first use."""
        if split not in self._datasets:
            self._datasets[split] = self.make_dataset(split)
        return self._datasets[split]

    def train_dataloader(self) -> DataLoader[Any]:
        """Load the training split, shuffled."""
        return self._dataloader("train")

    def val_dataloader(self) -> DataLoader[Any] | Sequence[DataLoader[Any]]:
        """Load the validation split."""
        return self._dataloader("val")

    def test_dataloader(self) -> DataLoader[Any] | Sequence[DataLoader[Any]]:
        """Load the test split."""
        return self._dataloader("test")

    def predict_dataloader(self) -> DataLoader[Any] | Sequence[DataLoader[Any]]:
        """Load what predictions are made for."""
        return self._dataloader("predict")

    def _dataloader(self, split: Split, training: bool | None = None) -> DataLoader[Any]:
        dataset = self.dataset(split)
        training = split == "train" if training is None else training
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        batch_size = self.batch_size if training else self.eval_batch_size
        if batch_size % world_size:
            raise ValueError(f"a batch size of {batch_size} cannot be divided among {world_size} ranks")
        sampler: TrainingSampler | UnrepeatedDistributedSampler
        if training:
            sampler = TrainingSampler(dataset, batch_size, world_size, rank, self.seed, self.drop_last)
        else:
            sampler = UnrepeatedDistributedSampler(dataset, world_size, rank, shuffle=False)
        return (ResumableDataLoader if training else DataLoader)(
            dataset,
            batch_size=batch_size // world_size,
            sampler=sampler,
            num_workers=self.num_workers,
            timeout=self.worker_timeout if self.num_workers else 0,
            persistent_workers=self.num_workers > 0,
            collate_fn=_as_made if self.whole_batches else self.collate,
            generator=Generator().manual_seed(self.seed),
        )


def _as_made(batch: Any) -> Any:
    return batch
