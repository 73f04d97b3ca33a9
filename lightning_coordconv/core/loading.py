"""How training samples are dealt out: each once an epoch, the same for any number of ranks, and again after a stop."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler


class TrainingSampler(DistributedSampler[Any]):
    """A rank's share of an epoch's order: every ``num_replicas``-th sample of it, none repeated to fill a batch.

    Together, the batches of the ranks are those of a single process. Where the samples do not fill the last one, ranks
    have unequal shares of it; a remainder that would leave a rank without any is left out of the epoch, so that all
    ranks take the same number of steps.

    Args:
        dataset: what is sampled.
        batch_size: samples in an optimiser step, over all ranks together.
        num_replicas: the number of ranks.
        rank: the rank that this sampler is for.
        seed: fixes the order, with the epoch.
        drop_last: leave out samples that do not fill a batch.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        batch_size: int,
        num_replicas: int,
        rank: int,
        seed: int,
        drop_last: bool = False,
    ) -> None:
        super().__init__(dataset, num_replicas, rank, seed=seed)
        samples = len(dataset)  # type: ignore[arg-type]
        remainder = samples % batch_size
        self.total_size = samples - remainder if drop_last or remainder < num_replicas else samples
        self.num_samples = len(range(rank, self.total_size, num_replicas))
        self.start = 0

    def __iter__(self) -> Iterator[int]:
        """Yield the indices of this rank from ``start`` on, which goes back to zero."""
        start, self.start = self.start, 0
        order = torch.randperm(len(self.dataset), generator=Generator().manual_seed(self.seed + self.epoch))  # type: ignore[arg-type]
        return islice(order[: self.total_size].tolist(), self.rank + start * self.num_replicas, None, self.num_replicas)


class ResumableDataLoader(DataLoader[Any]):
    """A loader that goes on within an epoch where another one stood; Lightning puts its state into checkpoints.

    Needs a :class:`TrainingSampler` and a generator. Batches that were consumed are skipped without being loaded.
    """

    sampler: TrainingSampler
    generator: Generator
    batch_size: int

    batches = 0
    """Batches delivered since the epoch began."""
    skip = 0
    seeds: Tensor | None = None
    """State of the generator when the epoch began."""

    def __iter__(self) -> Any:
        """Deliver the batches of an epoch, the first time after a restart those that are left of it."""
        skip, self.skip = self.skip, 0
        return self._deliver(skip)

    def _deliver(self, skip: int) -> Iterator[Any]:
        self.batches, self.seeds = skip, self.generator.get_state()
        self.sampler.start = skip * self.batch_size
        for batch in super().__iter__():
            self.batches += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return the number of batches delivered, and the random state that seeded the epoch's workers."""
        return {"batches": self.batches, "seeds": self.generator.get_state() if self.seeds is None else self.seeds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next epoch begin where the state was taken."""
        self.batches, self.seeds = state["batches"], state["seeds"]
        self.skip = self.batches % len(self)
        self.generator.set_state(self.seeds)
