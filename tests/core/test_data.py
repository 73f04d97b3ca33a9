"""Tests of data modules: equal batches for any number of ranks, loading processes, counts, wrong arguments."""

import math
import random
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pytorch_lightning import seed_everything
from pytorch_lightning.utilities.seed import isolate_rng

from lightning_coordconv.coordinates import NotSoClevrDataModule
from lightning_coordconv.core import BaseDataModule, BaseTask, TrainingSampler, report_dropped


def stub(rank: int, ranks: int) -> SimpleNamespace:
    """Return what a data module and a task read of a trainer."""
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    return SimpleNamespace(
        global_rank=rank, world_size=ranks, num_devices=ranks, strategy=strategy, datamodule=None, ckpt_path=None
    )


def batches(split: str, rank: int = 0, ranks: int = 1, epoch: int = 0, **arguments: object) -> list[list[tuple]]:
    data = NotSoClevrDataModule(canvas=16, size=3, **arguments)
    data.trainer = stub(rank, ranks)
    loader = getattr(data, f"{split}_dataloader")()
    loader = loader[0] if isinstance(loader, list) else loader
    loader.sampler.set_epoch(epoch)
    return [[tuple(xy) for xy in batch["xy"].tolist()] for batch in loader]


def test_two_runs_see_the_same_batches_and_epochs_differ():
    assert batches("train", seed=1) == batches("train", seed=1)
    assert batches("train", seed=1) != batches("train", seed=1, epoch=1)
    assert batches("train", seed=1) != batches("train", seed=2)


def test_a_loop_without_a_trainer_shuffles_each_epoch_anew():
    loader = NotSoClevrDataModule(canvas=16, size=3, seed=1).train_dataloader()
    for epoch in range(3):
        assert [[tuple(xy) for xy in batch["xy"].tolist()] for batch in loader] == batches("train", seed=1, epoch=epoch)


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


def test_loading_does_not_use_the_global_random_state():
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
        ({"batch_size": 2.5}, "batch_size must be an integer, got 2.5"),
        ({"batch_size": True}, "batch_size must be an integer, got True"),
        ({"eval_batch_size": 0}, "eval_batch_size must be at least 1, got 0"),
        ({"num_workers": -1}, "num_workers must be at least 0, got -1"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"seed": "1"}, "seed must be an integer, got '1'"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        BaseDataModule(**arguments)


class Numbers(BaseDataModule):
    """As many samples in each split as it is given."""

    def __init__(self, samples: int, drop_last: bool = False, **arguments) -> None:
        super().__init__(**arguments)
        self.samples, self.drop_last = samples, drop_last

    def make_dataset(self, split: str) -> list[int]:
        return list(range(self.samples))


class Noise(BaseDataModule):
    """Sixteen samples, each three random numbers: torch's, NumPy's and Python's."""

    def make_dataset(self, split: str) -> "Noise":
        return self

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([torch.rand(()).item(), np.random.random(), random.random()])


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 1])
def test_ranks_draw_different_numbers_for_their_samples_and_the_first_those_of_one_process(num_workers):
    drawn = []
    for rank, ranks in ((0, 1), (0, 2), (1, 2)):
        with isolate_rng():
            seed_everything(0, verbose=False)
            task, data = BaseTask(), Noise(batch_size=4, num_workers=num_workers)
            task.trainer = data.trainer = stub(rank, ranks)
            task.on_fit_start()
            drawn.append(torch.cat(list(data.train_dataloader())))
    alone, first, second = drawn
    assert torch.equal(alone[:8], first)
    for column in torch.cat([first, second]).unbind(1):
        assert len(column.unique()) == 16


@pytest.mark.parametrize("split", ["train", "val", "test", "predict"])
def test_a_split_without_samples_is_refused(split):
    with pytest.raises(ValueError, match=f"the {split} split of Numbers has no samples"):
        getattr(Numbers(0), f"{split}_dataloader")()


def test_an_epoch_without_a_batch_is_refused():
    with pytest.raises(ValueError, match="has 7 samples, too few for a batch of 8 on 1 rank: lower batch_size"):
        Numbers(7, drop_last=True, batch_size=8).train_dataloader()
    assert len(Numbers(7, batch_size=8).train_dataloader()) == 1


@pytest.mark.parametrize(("samples", "drop_last", "left_out"), [(16, True, 0), (19, True, 3), (19, False, 0)])
def test_samples_that_an_epoch_leaves_out_are_counted(samples, drop_last, left_out, caplog):
    caplog.set_level("INFO")
    loader = Numbers(samples, drop_last, batch_size=8).train_dataloader()
    assert samples - sum(len(batch) for batch in loader) == left_out
    assert caplog.messages == (
        [f"Each epoch leaves out {left_out} of {samples} training samples, which do not fill a batch of 8."]
        if left_out
        else []
    )


@pytest.mark.parametrize(
    ("count", "message"),
    [(1, "bad files (1): 0."), (2, "bad files (2): 0, 1."), (7, "bad files (7): 0, 1, 2, 3, 4 and 2 more.")],
)
def test_what_is_dropped_is_counted_and_named(count, message, caplog):
    caplog.set_level("INFO")
    report_dropped("bad files", [])
    assert not caplog.messages
    report_dropped("bad files", list(range(count)))
    assert caplog.messages == [f"Unused: {message}"]


@pytest.mark.parametrize(("device", "pinned"), [("cpu", False), ("cuda", True)])
def test_memory_is_pinned_for_a_cuda_device(device, pinned):
    data = Numbers(8)
    strategy = SimpleNamespace(root_device=torch.device(device))
    data.trainer = SimpleNamespace(global_rank=0, world_size=1, strategy=strategy)
    assert data.train_dataloader().pin_memory is data.val_dataloader().pin_memory is pinned


@pytest.mark.parametrize(
    ("decodes", "cores", "ranks", "workers"),
    [(False, 16, 1, 0), (True, 16, 1, 8), (True, 16, 4, 4), (True, 1, 1, 1), (True, 2, 4, 1)],
)
def test_loading_processes_by_default(decodes, cores, ranks, workers, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)))
    data = Numbers(8)
    data.decodes_files = decodes
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    data.trainer = SimpleNamespace(global_rank=0, world_size=1, num_devices=ranks, strategy=strategy)
    with warnings.catch_warnings(action="ignore"):  # torch advises against more processes than this machine has cores
        assert data.val_dataloader().num_workers == workers
    data.num_workers = 0
    assert data.val_dataloader().num_workers == 0


def test_a_batch_that_ranks_cannot_share_is_refused():
    with pytest.raises(ValueError, match="batch_size=16 cannot be divided among 3 ranks"):
        batches("train", 0, 3, batch_size=16)


def test_a_split_with_fewer_samples_than_ranks_is_refused():
    samples = len(NotSoClevrDataModule(canvas=16, size=3).dataset("val"))
    with pytest.raises(ValueError, match=f"the val split of .* has {samples} samples: fewer than {samples + 1} ranks"):
        batches("val", 0, samples + 1)


def test_an_evaluation_batch_smaller_than_the_ranks_has_a_sample_for_each():
    seen = [batches("val", rank, 3, batch_size=3, eval_batch_size=1) for rank in range(3)]
    assert all(len(batch) == 1 for share in seen for batch in share)


@pytest.mark.parametrize(("samples", "ranks", "left_out"), [(10, 2, 0), (11, 2, 0), (9, 2, 1), (14, 3, 2), (12, 3, 0)])
def test_training_deals_each_sample_once_and_every_rank_as_many_steps(samples, ranks, left_out):
    local = 4
    samplers = [TrainingSampler(range(samples), local * ranks, ranks, rank, seed=3) for rank in range(ranks)]
    shares = [list(sampler) for sampler in samplers]
    dealt = [index for share in shares for index in share]
    assert len(set(dealt)) == len(dealt) == samples - left_out
    assert len({math.ceil(len(share) / local) for share in shares}) == 1
    assert [len(share) for share in shares] == [len(sampler) for sampler in samplers]
