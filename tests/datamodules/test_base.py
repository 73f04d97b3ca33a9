"""One batch size for any number of ranks, and nothing seen twice."""

from types import SimpleNamespace

import pytest
import torch

from lightning_coordconv.datamodules import BaseDataModule, NotSoClevrDataModule


def batches(split: str, rank: int = 0, ranks: int = 1, epoch: int = 0, **arguments: object) -> list[list[tuple]]:
    data = NotSoClevrDataModule(canvas=16, size=3, **arguments)
    data.trainer = SimpleNamespace(global_rank=rank, world_size=ranks)
    loader = getattr(data, f"{split}_dataloader")()
    loader = loader[0] if isinstance(loader, list) else loader
    loader.sampler.set_epoch(epoch)
    return [[tuple(location) for location in batch["location"].tolist()] for batch in loader]


def test_two_runs_see_the_same_batches_and_epochs_differ():
    assert batches("train", seed=1) == batches("train", seed=1)
    assert batches("train", seed=1) != batches("train", seed=1, epoch=1)
    assert batches("train", seed=1) != batches("train", seed=2)


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_share_the_batches_of_one_process(ranks):
    alone = batches("train", batch_size=16)
    shares = [batches("train", rank, ranks, batch_size=16) for rank in range(ranks)]
    for step, batch in enumerate(alone[:-1]):
        assert sorted(batch) == sorted(position for share in shares for position in share[step])


@pytest.mark.parametrize("split", ["val", "test", "predict"])
def test_evaluation_sees_each_sample_once_over_three_ranks(split):
    alone = sorted(position for batch in batches(split, eval_batch_size=6) for position in batch)
    shared = [
        position for rank in range(3) for batch in batches(split, rank, 3, eval_batch_size=6) for position in batch
    ]
    assert sorted(shared) == alone
    assert len(set(shared)) == len(shared)


def test_loading_leaves_the_global_random_state_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    batches("train")
    assert torch.equal(before, torch.get_rng_state())


def test_workers_deliver_the_same():
    assert batches("train", num_workers=1) == batches("train")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"eval_batch_size": 0}, "eval_batch_size must be at least 1, got 0"),
        ({"num_workers": -1}, "num_workers must not be negative, got -1"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        BaseDataModule(**arguments)


def test_a_batch_that_ranks_cannot_share_is_refused():
    with pytest.raises(ValueError, match="a batch size of 16 cannot be divided among 3 ranks"):
        batches("train", 0, 3, batch_size=16)
