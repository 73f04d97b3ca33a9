"""Tests that schedules of a metric are stepped in resumed runs as in runs that were not interrupted."""

from functools import partial
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader

from lightning_coordconv.runtime.callbacks import default_callbacks

VALUES = [3.0, 4.0, 2.0, 5.0, 6.0, 7.0, 1.0, 2.0]
"""The metric of each validation."""


class Scripted(LightningModule):
    """Logs given numbers as its metric, so that it is known when the rate falls."""

    def __init__(self, **schedule) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.schedule = schedule
        self.register_buffer("validations", torch.zeros((), dtype=torch.long))

    def training_step(self, batch, batch_idx):
        return self.weight

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", torch.tensor(VALUES[int(self.validations)]))

    def on_validation_epoch_end(self):
        self.validations += 1

    def train_dataloader(self):
        return DataLoader([0.0] * 4)

    def val_dataloader(self):
        return DataLoader([0.0])

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
        schedule = ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val/loss", **self.schedule}}


class Rates(Callback):
    """Keeps the learning rate of each step, by its number, and a copy of each checkpoint."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.rates = folder, {}

    def on_train_batch_start(self, trainer, *_):
        self.rates[trainer.global_step] = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(self, trainer, *_):
        trainer.save_checkpoint(self.folder / f"batch{trainer.global_step}.ckpt")


class Copies(Callback):
    """Saves a checkpoint at each validation and at the end of each epoch, as the last callback."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_validation_end(self, trainer, *_):
        trainer.save_checkpoint(self.folder / f"validation{trainer.global_step}.ckpt")

    def on_train_epoch_end(self, trainer, *_):
        trainer.save_checkpoint(self.folder / f"epoch{trainer.global_step}.ckpt")


def train(folder, schedule, options, resume=None):
    """Train four epochs of four steps, and return the rates of the steps and the last one."""
    rates = Rates(folder)
    defaults = default_callbacks("val/loss", "min", None, 0, resume, {"enable_progress_bar": False})
    trainer = Trainer(
        accelerator="cpu", max_epochs=4, default_root_dir=folder, logger=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, callbacks=[*defaults, rates, Copies(folder)], **options,
    )  # fmt: skip
    trainer.fit(Scripted(**schedule), ckpt_path=resume, weights_only=True)
    return rates.rates, trainer.optimizers[0].param_groups[0]["lr"]


CASES = {
    "each epoch": ({}, {}),
    "each second epoch": ({"frequency": 2}, {}),
    "two validations an epoch": ({}, {"val_check_interval": 2}),
    "a validation within the epoch": ({}, {"val_check_interval": 3}),
    "each step": ({"interval": "step", "strict": False}, {"val_check_interval": 2}),
    "each step of two batches": ({"interval": "step"}, {"val_check_interval": 2, "accumulate_grad_batches": 2}),
    "each second step": ({"interval": "step", "frequency": 2}, {"val_check_interval": 2}),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch")
@pytest.mark.filterwarnings("ignore:ReduceLROnPlateau")  # steps before the first validation
@pytest.mark.parametrize("case", CASES)
def test_a_run_that_resumes_anywhere_has_the_rates_of_one_that_was_not_interrupted(tmp_path, case):
    run = partial(train, schedule=CASES[case][0], options=CASES[case][1])
    expected, last = run(tmp_path)
    assert last < 1
    validated = {path.stem.removeprefix("validation") for path in tmp_path.glob("validation*.ckpt")}
    checkpoints = list(tmp_path.glob("*[0-9].ckpt"))
    assert len(checkpoints) > 15
    for path in checkpoints:
        if path.stem.removeprefix("batch") in {*validated, "4", "8", "12", "16"}:
            continue  # Lightning does not run a validation that was due, or end an epoch
        if path.stem == "epoch16":
            continue  # the run has ended
        (tmp_path / path.stem).mkdir()
        rates, end = run(tmp_path / path.stem, resume=path)
        assert (end, rates) == (last, {step: expected[step] for step in rates}), path.name
