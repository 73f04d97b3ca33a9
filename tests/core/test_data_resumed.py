"""Tests that data loaders resume within an epoch, with the same random numbers, and report other samples."""

import itertools
import random

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities.seed import isolate_rng
from torch.utils.data import Dataset

from lightning_coordconv.coordinates import NotSoClevrDataModule
from lightning_coordconv.core import ResumableDataLoader, TrainingSampler


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


@pytest.mark.parametrize(
    ("num_workers", "overfit_batches"), [(0, 0.0), pytest.param(1, 0.0, marks=pytest.mark.slow), (0, 4)]
)
@pytest.mark.parametrize("step", [1, 4, 5, 8])
@pytest.mark.filterwarnings("ignore:You requested to overfit but enabled")
def test_a_run_resumes_where_it_stood_in_the_epoch(step, num_workers, overfit_batches, tmp_path):
    def fit(callbacks, ckpt_path=None):
        data = NotSoClevrDataModule("quadrant", canvas=8, size=3, batch_size=8, num_workers=num_workers)
        module = Seen(data)
        Trainer(
            accelerator="cpu", max_epochs=3, logger=False, callbacks=callbacks, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
            overfit_batches=overfit_batches,
        ).fit(module, data, ckpt_path=ckpt_path, weights_only=True)  # fmt: skip
        return module

    whole = fit([SaveAt(step, tmp_path / "a.ckpt")])
    assert len(whole.seen) == 3 * 4
    rest = fit([], tmp_path / "a.ckpt")
    assert rest.seen == whole.seen[step:]
    assert torch.equal(rest.layer.weight, whole.layer.weight)


class Noisy(Dataset):
    """Draws from each global random generator for each sample."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return torch.tensor([index, torch.rand(()), np.random.random(), random.random()])


def test_batches_that_are_loaded_again_draw_no_random_numbers():
    """As with ``overfit_batches``, for which Lightning replaces the sampler."""
    first, second = (ResumableDataLoader(Noisy(), batch_size=2, generator=torch.Generator()) for _ in range(2))
    batches = iter(first)
    next(batches), next(batches)
    second.load_state_dict(first.state_dict())
    with isolate_rng():
        rest = torch.cat(list(batches))
    assert torch.equal(torch.cat(list(second)), rest)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(0, 2), (2, 0), (2, 1)])
def test_an_epoch_resumes_with_another_number_of_loading_processes(before, after):
    def loader(num_workers):
        sampler = TrainingSampler(range(21), 4, 1, 0, seed=0)
        return ResumableDataLoader(
            range(21), batch_size=4, sampler=sampler, num_workers=num_workers, generator=torch.Generator()
        )

    whole, state = [], None
    first = loader(before)
    for step, batch in enumerate(first):
        whole.append(batch.tolist())
        if step == 1:
            state = first.state_dict()
    second = loader(after)
    second.load_state_dict(state)
    assert [batch.tolist() for batch in second] == whole[2:]
    assert len(list(second)) == 6


@pytest.mark.parametrize(
    ("samples", "batch_size", "seed", "said"),
    [
        (21, 4, 0, ""),
        (21, 3, 0, "batch_size 4, now 3"),
        (21, 4, 1, "seed 0, now 1"),
        (20, 4, 0, "samples 21, now 20"),
        (22, 7, 2, "samples 21, now 22, batch_size 4, now 7, seed 0, now 2"),
    ],
)
@pytest.mark.parametrize("within", [True, False])
def test_an_epoch_that_resumes_with_other_samples_is_reported(caplog, samples, batch_size, seed, said, within):
    def loader(samples, batch_size, seed):
        sampler = TrainingSampler(range(samples), batch_size, 1, 0, seed)
        return ResumableDataLoader(range(samples), batch_size=batch_size, sampler=sampler, generator=torch.Generator())

    first = loader(21, 4, 0)
    for _ in itertools.islice(first, 2 if within else None):
        state = first.state_dict()
    second = loader(samples, batch_size, seed)
    second.load_state_dict(state)
    assert (f"of an epoch with {said}" in caplog.text) == bool(within and said)
    assert bool(caplog.messages) == bool(within and said)
    if not within:
        assert sorted(torch.cat(list(second)).tolist()) == list(range(samples))
