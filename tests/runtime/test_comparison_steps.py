"""Tests that all files of a run have its validations at the same steps, and that ``compare`` says where they do not."""

import json

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader

from lightning_coordconv.runtime.callbacks.summary import RunSummary
from lightning_coordconv.runtime.comparison.arms import gather
from lightning_coordconv.runtime.comparison.figure import draw
from lightning_coordconv.runtime.comparison.runs import find_runs
from tests.runtime.compared_runs import compare, write_summary


class Automatic(LightningModule):
    """A module of one weight, whose loss is logged against Lightning's steps."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        loss = self.net(batch).sum()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.net(batch).sum())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


class TwoSteps(Automatic):
    """Makes two steps of its optimiser with a batch, as a GAN does."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        for _ in range(2):
            self.optimizers().step()


class OwnSteps(Automatic):
    """Logs validations against a number of its own, as agents do, and training against another."""

    def training_step(self, batch, batch_idx):
        self.log("step", -1.0)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        self.log("step", 20.0 * (1 + self.trainer.global_step))


class StepsOfTraining(Automatic):
    """Logs training against a number of its own, and validations against Lightning's steps."""

    def training_step(self, batch, batch_idx):
        self.log("step", -1.0)
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize(
    ("kind", "batches"), [(Automatic, 1), (Automatic, 2), (TwoSteps, 1), (OwnSteps, 1), (StepsOfTraining, 1)]
)
def test_all_files_of_a_run_have_its_validations_at_the_same_steps(tmp_path, kind, batches):
    loggers = [TensorBoardLogger(tmp_path, "events", ""), CSVLogger(tmp_path, "csv", "")]
    trainer = Trainer(
        accelerator="cpu", max_epochs=3, logger=loggers, log_every_n_steps=1, accumulate_grad_batches=batches,
        callbacks=[RunSummary()], limit_test_batches=0, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False,
    )  # fmt: skip
    data = DataLoader(torch.ones(4, 1))
    trainer.fit(kind(), data, data)
    runs = find_runs([tmp_path])
    (tmp_path / "events" / "summary.json").unlink()
    runs += find_runs([tmp_path / "events"])
    assert [run.steps_are_logged for run in runs] == [True] * 3
    of_summary, of_csv, of_events = (list(run.curves["val/loss"]) for run in runs)
    assert len(of_summary) == 3
    assert of_summary == of_csv == of_events


@pytest.mark.parametrize("newer", [False, True])
def test_curves_over_optimiser_steps_beside_others_are_named(tmp_path, capsys, newer):
    for seed in range(2):
        write_summary(tmp_path / f"seed_{seed}", "a", seed, 0.5 + seed / 10)
    path = tmp_path / "seed_1" / "summary.json"
    summary = json.loads(path.read_text())
    if newer:
        curve = [row | {"logged_step": row["step"] - 1} for row in summary["curve"]]
        path.write_text(json.dumps(summary | {"curve": curve}))
    compare(tmp_path, "--metric", "val/accuracy")
    printed = capsys.readouterr().out
    older = f"Runs of an older version with curves over optimiser steps (1): {tmp_path / 'seed_0'}. Those of the other "
    assert (older in printed) == newer
    assert "The last values" not in printed  # of steps that cannot be compared
    below = draw(gather(find_runs([tmp_path])), ["val/accuracy"]).get_supxlabel()
    assert below == ("not comparable: 1 run over optimiser steps, the others over the loggers' steps" if newer else "")
