"""Base class of data modules: builds data sets and loaders, saves splits, and compares classes with a checkpoint's."""

import math
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal, NoReturn

from pytorch_lightning import LightningDataModule
from pytorch_lightning.overrides.distributed import UnrepeatedDistributedSampler
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn
from torch import Generator
from torch.utils.data import DataLoader, Dataset, default_collate

from lightning_coordconv.core.arguments import check_at_least
from lightning_coordconv.core.checked import CheckedArguments
from lightning_coordconv.core.checkpoints import CheckpointError
from lightning_coordconv.core.counts import count
from lightning_coordconv.core.loading import ResumableDataLoader, TrainingSampler
from lightning_coordconv.core.preprocessing import Preprocessing
from lightning_coordconv.core.protocols import DatasetOfFiles, TaskOfBatches
from lightning_coordconv.core.shared_files import report_shared
from lightning_coordconv.core.splits import RandomSplit
from lightning_coordconv.core.training_data import recall, teach
from lightning_coordconv.core.worker_processes import start_worker

Split = Literal["train", "val", "test", "predict"]

MAX_DEFAULT_WORKERS = 8
"""Largest number of loading processes per rank that is chosen by default."""


class BaseDataModule(CheckedArguments, LightningDataModule):
    """Builds the data set of each split, and its loader.

    A subclass implements :meth:`make_dataset` and declares the keys of its samples, which are dicts, in
    ``sample_keys``. It repeats the arguments below, because editors and the reference show only what a signature names.

    The order of training samples depends on nothing but ``seed`` and the epoch. Together, the ranks of a distributed
    run see the batches of a single process, and no sample is repeated to fill a batch. A run that resumes within an
    epoch continues with the batches that are left of it (see :mod:`lightning_coordconv.core.loading`).

    A subclass that divides files at random does so with ``random_split``, and one whose data sets hold out samples by
    their seed gives them ``split_seed`` and sets ``seeded_split``. Checkpoints hold the names of the files of each
    part, or that seed, and a run that resumes and a test of its checkpoint have the same parts. So has an evaluation of
    a task that was trained before in the same process, or loaded from a checkpoint.

    The loaders pin memory if the trainer uses a CUDA device, keep their processes between epochs, and give up on
    processes that deliver nothing for ``worker_timeout`` seconds. Each process holds torch's default of two batches
    ready.

    Args:
        batch_size: samples in an optimiser step, over all ranks together.
        eval_batch_size: the same for validation, test and prediction; ``batch_size`` by default. Each rank loads an
            equal share of it, rounded up.
        num_workers: loading processes per rank. By default there are none, except where samples are decoded from files
            (``decodes_files``): there it is the number of CPU cores per rank, at most 8.
        seed: fixes the split and the order of the training samples; not negative.

    Raises:
        ValueError: for an argument that is no integer or too small; when a loader is made, for a ``batch_size`` that
            the number of ranks does not divide, a split with fewer samples than ranks, and a training split too small
            for one batch.
    """

    sample_keys: frozenset[str] = frozenset()
    """Keys of the samples that the data sets return."""
    whole_batches: ClassVar[bool] = False
    """Whether the data sets' ``__getitems__`` returns a whole batch, so that the loader need not collate samples."""
    decodes_files: ClassVar[bool] = False
    """Whether making a sample takes so long that loading processes pay off, as decoding an image does."""
    worker_timeout: ClassVar[float] = 600.0
    """Seconds after which loading processes that have delivered nothing are taken to be stuck."""
    drop_last: ClassVar[bool] = False
    """Whether training samples that do not fill a batch are left out of the epoch."""
    class_names: Sequence[str] = ()
    """Names of the classes, by class; empty if they have none."""
    seeded_split: bool = False
    """Whether ``split_seed`` decides which samples are held out."""
    preprocessing: Preprocessing | None = None
    """How images are prepared for evaluation; ``None`` if it cannot be said in these terms."""

    def __init__(
        self,
        batch_size: int = 16,
        eval_batch_size: int | None = None,
        num_workers: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.eval_batch_size = batch_size if eval_batch_size is None else eval_batch_size
        self.num_workers = num_workers
        self.seed = seed
        check_at_least(1, batch_size=self.batch_size, eval_batch_size=self.eval_batch_size)
        check_at_least(0, num_workers=num_workers or 0, seed=seed)
        self.random_split = RandomSplit(seed)
        self.split_seed = seed
        self._datasets: dict[Split, Dataset[Any]] = {}

    @classmethod
    def load_from_checkpoint(cls, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse to build a data module from a checkpoint.

        Lightning's method would build whatever else the checkpoint names.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            f"{cls.__name__} is not built from a checkpoint: build it from its arguments or its config"
        )

    @staticmethod
    def collate(samples: list[Any]) -> Any:
        """Make a batch of a list of samples: tensors are stacked."""
        return default_collate(samples)

    def describe(self) -> dict[str, Any]:
        """Return what predictions on other images need, as plain data that checkpoints hold.

        Returns:
            ``class_names`` and ``preprocessing``, as far as they are known.
        """
        names = {"class_names": list(self.class_names)} if self.class_names else {}
        return names if self.preprocessing is None else {**names, "preprocessing": self.preprocessing.to_dict()}

    def state_dict(self) -> dict[str, Any]:
        """Return what was drawn for the split, for checkpoints: the names of the files of each part, or the seed."""
        names = self.random_split.state_dict()
        seed = {"split_seed": self.split_seed} if self.seeded_split else {}
        return {"split": names, **seed} if names else seed

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the split of a checkpoint.

        Raises:
            CheckpointError: if it is no split.
            ValueError: if files of it are missing.
        """
        seed = state_dict.get("split_seed", self.split_seed)
        if self.seeded_split and seed != self.split_seed:
            if type(seed) is not int or seed < 0:
                raise CheckpointError(f"the seed of the checkpoint's split must be an integer from 0, got {seed!r}")
            rank_zero_info(
                f"The checkpoint holds out the samples of seed {seed}, not {self.split_seed}: they are kept."
            )
            self.split_seed = seed
            self._datasets.clear()
        if "split" in state_dict and self.random_split.load_state_dict(state_dict["split"]):
            self._datasets.clear()
            self.find_data()

    def forget_split(self) -> None:
        """Return to the split of the own seed, from that of a task that was evaluated."""
        if self.random_split.restored or self.split_seed != self.seed:
            self.split_seed, self.random_split = self.seed, RandomSplit(self.seed)
            self._datasets.clear()
            self.find_data()

    def find_data(self) -> None:
        """Find the files, if they are found before a data set is built; called again for the split of a checkpoint."""

    def compare_description(self, trained: Mapping[str, Any]) -> None:
        """Warn of classes, of a preparation of images, and of held-out positions, that are not those of training.

        Args:
            trained: what is known of the data of training; see :meth:`describe`.
        """
        own = self.describe()
        for key in ("class_names", "categories"):
            known, here = trained.get(key), own.get(key)
            if known and here and known != here:
                rank_zero_warn(
                    f"the network was trained with the {key} {known!r:.200}, but the data have {here!r:.200}: "
                    "labels and predictions are compared by their position in these lists"
                )
        for key, what in (("preprocessing", "images prepared"), ("positions", "positions")):
            known, here = trained.get(key), own.get(key, {})
            if not isinstance(known, Mapping):
                continue
            differing = [name for name in here if name in known and name != "seed" and here[name] != known[name]]
            if differing:
                was, now = (", ".join(f"{name}={which[name]!r}" for name in differing) for which in (known, here))
                rank_zero_warn(f"the network was trained on {what} with {was:.200}, and now sees {now:.200}")

    def make_dataset(self, split: Split) -> Dataset[Any]:
        """Build the data set of a split."""
        raise NotImplementedError(f"{type(self).__name__} must implement make_dataset(split)")

    def dataset(self, split: Split) -> Dataset[Any]:
        """Return the data set of a split, built on first use; training images that are evaluated too are logged.

        Raises:
            ValueError: if it has no samples, or not the split of the checkpoint.
        """
        if split not in self._datasets:
            dataset = self.make_dataset(split)
            if self.random_split.pending and self.random_split.names:
                raise ValueError(
                    f"{type(self).__name__} divides its files before it has the split of the checkpoint, and would "
                    "evaluate on files that were trained on: call random_split.divide in find_data or in make_dataset"
                )
            if not len(dataset):  # type: ignore[arg-type]
                raise ValueError(f"the {split} split of {type(self).__name__} has no samples")
            self._datasets[split] = dataset
            if split == "train" and isinstance(dataset, DatasetOfFiles):
                self.dataset("val")
            report_shared(split, self._datasets, self.make_dataset)
        return self._datasets[split]

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Let the task look at a batch while it is on the host."""
        task = getattr(self.trainer, "lightning_module", None)
        if isinstance(task, TaskOfBatches):
            task.look_at(batch)
        return batch

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
        """Load the samples that predictions are made for."""
        return self._dataloader("predict")

    def _dataloader(self, split: Split, training: bool | None = None) -> DataLoader[Any]:
        recall(self)
        dataset = self.dataset(split)
        training = split == "train" if training is None else training
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        batch_size = self.batch_size if training else self.eval_batch_size
        if training and batch_size % world_size:
            raise ValueError(f"batch_size={batch_size} cannot be divided among {world_size} ranks")
        sampler: TrainingSampler | UnrepeatedDistributedSampler
        if training:
            sampler = TrainingSampler(dataset, batch_size, world_size, rank, self.seed, self.drop_last)
            self._check_epoch(sampler, batch_size)
            teach(self)
        else:
            samples = len(dataset)  # type: ignore[arg-type]
            if samples < world_size:
                raise ValueError(
                    f"the {split} split of {type(self).__name__} has {count(samples, 'sample')}: fewer than "
                    f"{world_size} ranks"
                )
            sampler = UnrepeatedDistributedSampler(dataset, world_size, rank, shuffle=False)
        num_workers = self._workers()
        return (ResumableDataLoader if training else DataLoader)(
            dataset,
            batch_size=math.ceil(batch_size / world_size),
            sampler=sampler,
            num_workers=num_workers,
            timeout=self.worker_timeout if num_workers else 0,
            persistent_workers=num_workers > 0,
            pin_memory=self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
            collate_fn=_identity if self.whole_batches else self.collate,
            generator=Generator().manual_seed(self.seed),
            worker_init_fn=partial(start_worker, rank=rank),
        )

    def _check_epoch(self, sampler: TrainingSampler, batch_size: int) -> None:
        """Refuse an epoch without a batch, and log how many samples it leaves out."""
        samples = len(sampler.dataset)  # type: ignore[arg-type]
        if not sampler.total_size:
            raise ValueError(
                f"the train split of {type(self).__name__} has {count(samples, 'sample')}, too few for a batch of "
                f"{batch_size} on {count(sampler.num_replicas, 'rank')}: lower batch_size"
            )
        left_out = samples - sampler.total_size
        if left_out:
            rank_zero_info(
                f"Each epoch leaves out {left_out} of {samples} training samples, which do not fill a batch of "
                f"{batch_size}."
            )

    def _workers(self) -> int:
        """Return the number of loading processes of a rank."""
        if self.num_workers is not None:
            return self.num_workers
        if not self.decodes_files:
            return 0
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        ranks = self.trainer.num_devices if self.trainer else 1
        return max(1, min(MAX_DEFAULT_WORKERS, cores // ranks))


def _identity(batch: Any) -> Any:
    return batch
