"""Data modules: the same batches for any number of ranks, each sample once, and what is refused."""

import math
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_coordconv.coordinates import NotSoClevrDataModule
from lightning_coordconv.core import BaseDataModule, TrainingSampler


def batches(split: str, rank: int = 0, ranks: int = 1, epoch: int = 0, **arguments: object) -> list[list[tuple]]:
    data = NotSoClevrDataModule(canvas=16, size=3, **arguments)
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    data.trainer = SimpleNamespace(global_rank=rank, world_size=ranks, num_devices=ranks, strategy=strategy)
    loader = getattr(data, f"{split}_dataloader")()
    loader = loader[0] if isinstance(loader, list) else loader
    loader.sampler.set_epoch(epoch)
    return [[tuple(xy) for xy in batch["xy"].tolist()] for batch in loader]


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
        ({"num_workers": -1}, "num_workers must be at least 0, got -1"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        BaseDataModule(**arguments)


def test_a_batch_that_ranks_cannot_share_is_refused():
    with pytest.raises(ValueError, match="a batch size of 16 cannot be divided among 3 ranks"):
        batches("train", 0, 3, batch_size=16)


@pytest.mark.parametrize(("samples", "ranks", "left_out"), [(10, 2, 0), (11, 2, 0), (9, 2, 1), (14, 3, 2), (12, 3, 0)])
def test_training_deals_each_sample_once_and_every_rank_as_many_steps(samples, ranks, left_out):
    local = 4
    samplers = [TrainingSampler(range(samples), local * ranks, ranks, rank, seed=3) for rank in range(ranks)]
    shares = [list(sampler) for sampler in samplers]
    dealt = [index for share in shares for index in share]
    assert len(set(dealt)) == len(dealt) == samples - left_out
    assert len({math.ceil(len(share) / local) for share in shares}) == 1
    assert [len(share) for share in shares] == [len(sampler) for sampler in samplers]


class Seen(LightningModule):
    """Remembers the batches of its steps."""

    def __init__(self, data):
        super().__init__()
        self.data, self.seen, self.layer = data, [], torch.nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        self.seen.append((self.current_epoch, batch["xy"].tolist()))
        return self.layer(batch["xy_scaled"]).mean()

    def validation_step(self, batch, batch_idx):
        return None

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class SaveAt(Callback):
    """Saves a checkpoint after a step."""

    def __init__(self, step, path):
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("step", [1, 4, 5, 8])
def test_a_run_resumes_where_it_stood_in_the_epoch(step, num_workers, tmp_path):
    def fit(callbacks, ckpt_path=None):
        data = NotSoClevrDataModule("quadrant", canvas=8, size=3, batch_size=8, num_workers=num_workers)
        module = Seen(data)
        Trainer(
            accelerator="cpu", max_epochs=3, logger=False, callbacks=callbacks, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
        ).fit(module, data, ckpt_path=ckpt_path, weights_only=True)  # fmt: skip
        return module

    whole = fit([SaveAt(step, tmp_path / "a.ckpt")])
    assert len(whole.seen) == 3 * 4
    rest = fit([], tmp_path / "a.ckpt")
    assert rest.seen == whole.seen[step:]
    assert torch.equal(rest.layer.weight, whole.layer.weight)
