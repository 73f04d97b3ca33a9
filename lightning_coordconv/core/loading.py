"""A sampler whose order is the same for any number of ranks, and a data loader that resumes within an epoch.

torchdata's ``StatefulDataLoader`` 0.11 resumes within an epoch too, but fails with an assertion when the number of
loading processes has changed since the state was saved (tried: 0 to 2, 2 to 0, 2 to 1), which the loader here allows.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_info
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler


class TrainingSampler(DistributedSampler[Any]):
    """Samples one rank's share of a shuffled epoch: every ``num_replicas``-th index of the common order.

    Together, the batches of the ranks are those of a single process, and no sample is repeated to fill a batch. Where
    samples do not fill the last batch, ranks have unequal shares of it. A remainder that is too small to give each rank
    a sample is left out of the epoch, so that all ranks take the same number of steps.

    Args:
        dataset: the data set to sample from.
        batch_size: samples in an optimiser step, over all ranks together.
        num_replicas: number of ranks.
        rank: the rank that this sampler serves.
        seed: fixes the order, together with the epoch.
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
        self.batch_size = batch_size
        remainder = samples % batch_size
        self.total_size = samples - remainder if drop_last or remainder < num_replicas else samples
        self.num_samples = len(range(rank, self.total_size, num_replicas))
        self.start = 0

    def __iter__(self) -> Iterator[int]:
        """Yield this rank's indices from position ``start`` on, and reset ``start`` to 0.

        Lightning sets the epoch before it begins. Without it, as in a loop of the user's own, each iteration is one.
        """
        start, self.start = self.start, 0
        order = torch.randperm(len(self.dataset), generator=Generator().manual_seed(self.seed + self.epoch))  # type: ignore[arg-type]
        self.epoch += 1
        return islice(order[: self.total_size].tolist(), self.rank + start * self.num_replicas, None, self.num_replicas)


class ResumableDataLoader(DataLoader[Any]):
    """Continues an epoch after the batch at which its state was saved. Lightning saves the state in checkpoints.

    Needs a generator. Batches that were delivered before are skipped without being loaded, unless Lightning has
    replaced the :class:`TrainingSampler`, as it does for ``overfit_batches``. The batches that follow hold the same
    samples for any number of loading processes. Random transforms are exactly those of an uninterrupted run if there
    are no loading processes; the processes themselves draw from streams that start again. With other data, another
    batch size or seed the rest of the epoch cannot hold the samples that are left of it, and a message says so.
    """

    dataset: Dataset[Any]
    generator: Generator
    batch_size: int

    delivered = 0
    """Number of batches delivered since the epoch began."""
    skip = 0
    """Number of batches that the next epoch skips."""
    epoch_state: Tensor | None = None
    """State of the generator when the epoch began."""

    def __iter__(self) -> Any:
        """Deliver the batches of an epoch; after a resume, those that are left of it."""
        skip, self.skip = self.skip, 0
        return self._deliver(skip)

    def _deliver(self, skip: int) -> Iterator[Any]:
        self.delivered, self.epoch_state = skip, self.generator.get_state()
        again = skip
        if isinstance(self.sampler, TrainingSampler):
            self.sampler.start, again = skip * self.batch_size, 0
        batches = super().__iter__()
        with isolate_rng(include_cuda=False):  # their transforms drew these random numbers before the checkpoint
            for _ in islice(batches, again):
                pass
        for batch in batches:
            self.delivered += 1
            yield batch

    def samples_in(self, batch: int) -> int | None:
        """Return how many samples a batch has on all ranks; ``None`` where Lightning replaced the sampler."""
        sampler = self.sampler
        if not isinstance(sampler, TrainingSampler):
            return None
        return min(sampler.batch_size, sampler.total_size - batch * sampler.batch_size)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the epoch, as plain data and tensors.

        Returns:
            The number of ``batches`` delivered and ``of`` how many, the ``order`` that the samples follow from, and the
            ``generator`` state with which the epoch began.
        """
        state = self.generator.get_state() if self.epoch_state is None else self.epoch_state
        return {"batches": self.delivered, "of": len(self), "order": self._order(), "generator": state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Make the next epoch continue where the state was saved."""
        self.delivered, self.epoch_state = state["batches"], state["generator"]
        within = self.delivered % state.get("of", len(self))
        self.skip = within % len(self)
        self.generator.set_state(self.epoch_state)
        order, saved = self._order(), state.get("order", {})
        differing = [
            f"{name} {saved[name]}, now {order[name]}" for name in order if saved.get(name) not in (None, order[name])
        ]
        if within and differing:
            rank_zero_info(
                f"The checkpoint is of an epoch with {', '.join(differing)}: the rest of this epoch repeats some "
                "of its samples and leaves out others."
            )

    def _order(self) -> dict[str, int]:
        """Return what the samples of the batches of an epoch follow from."""
        samples = len(self.dataset)  # type: ignore[arg-type]
        if not isinstance(self.sampler, TrainingSampler):
            return {"samples": samples, "batch_size": self.batch_size}
        return {"samples": samples, "batch_size": self.sampler.batch_size, "seed": self.sampler.seed}
