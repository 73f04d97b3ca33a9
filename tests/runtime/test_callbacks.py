"""Tests of what a run leaves: summary, figures, events, checkpoints, an earlier fit's files, and lines of progress."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import image
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint, OnExceptionCheckpoint

from lightning_coordconv.coordinates import (
    CoordinateClassification,
    CoordinateFigures,
    CoordinateRegression,
    CoordinateRendering,
    DeconvDecoder,
    NotSoClevrDataModule,
    StridedRegressor,
)
from lightning_coordconv.runtime.callbacks.best_checkpoint import BestCheckpoint
from lightning_coordconv.runtime.callbacks.defaults import default_callbacks
from lightning_coordconv.runtime.callbacks.last_checkpoint import LastCheckpoint
from lightning_coordconv.runtime.callbacks.preemption import CheckpointingPreemption, Preemption, last_path
from lightning_coordconv.runtime.callbacks.progress import ProgressLines
from lightning_coordconv.runtime.callbacks.randomness import RandomState
from lightning_coordconv.runtime.callbacks.saved_config import SavedConfig
from lightning_coordconv.runtime.callbacks.summary import RunSummary

CONFIG = Path(__file__).parents[2] / "configs" / "coordinates" / "classification_quadrant_deconv.yaml"
SMALL = ("--data.canvas=16", "--data.size=3", "--model.net.init_args.canvas=16", "--model.net.init_args.mul=1",
         "--trainer.max_epochs=2", "--trainer.check_val_every_n_epoch=1",
         "--trainer.enable_progress_bar=false")  # fmt: skip


@pytest.mark.slow
def test_a_run_leaves_summary_figures_events_and_checkpoints(cli, capsys):
    folder = cli("fit", "-c", CONFIG, *SMALL, "--seed_everything=3")
    logs = folder / "logs" / "coordinates" / "classification_quadrant_deconv" / "version_0"
    summary = json.loads((logs / "summary.json").read_text())
    assert summary["experiment"] == "coordinates/classification_quadrant_deconv"
    assert (summary["seed"], summary["steps"], summary["ranks"]) == (3, 2 * 5, 1)
    assert [row["step"] for row in summary["curve"]] == [5, 10]
    for clock in ("seconds", "cpu_seconds"):
        assert 0 < summary["curve"][0][clock] < summary[clock]
    assert {"test/accuracy", "test/distance", "test_train/accuracy"} <= set(summary["test"])
    printed = capsys.readouterr().out
    assert f"{summary['test']['test/accuracy']:.4f}" in printed
    assert f"{summary['seconds']:.1f} s" in printed
    for figure in ("positions", "samples", "sums_test", "sums_train"):
        assert image.imread(logs / "figures" / f"{figure}.png").std() > 0.01, figure
    assert list(logs.glob("events.out.*"))
    assert (logs / "checkpoints" / "last.ckpt").is_file()

    cli("predict", "-c", CONFIG, *SMALL, "--ckpt_path", logs / "checkpoints" / "last.ckpt")
    table = (logs.parent / "version_1" / "predictions.csv").read_text()
    rows = list(csv.DictReader(table.splitlines()))
    assert len(rows) == 14 * 14
    assert {(row["x"], row["y"]) for row in rows} == {(str(x), str(y)) for x in range(1, 15) for y in range(1, 15)}
    held_out = [row for row in rows if row["held_out"] == "True"]
    assert all(int(row["x"]) > 8 and int(row["y"]) > 8 for row in held_out)
    accuracy = sum((row["x"], row["y"]) == (row["predicted_x"], row["predicted_y"]) for row in held_out) / len(held_out)
    assert accuracy == pytest.approx(summary["test"]["test/accuracy"], abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "drawn"),
    [
        (CoordinateClassification(DeconvDecoder(2, 1, 16)), {"positions", "samples", "sums_test", "sums_train"}),
        (CoordinateRendering(DeconvDecoder(2, 1, 16)), {"positions", "samples", "sums_test", "sums_train"}),
        (CoordinateRegression(StridedRegressor()), {"positions"}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, torch.nn.Module) else "",
)
def test_figures_of_each_task(task, drawn, tmp_path):
    trainer = Trainer(
        accelerator="cpu", default_root_dir=tmp_path, callbacks=[CoordinateFigures()],
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.test(task, NotSoClevrDataModule("quadrant", canvas=16, size=3), verbose=False)
    assert {path.stem for path in Path(trainer.log_dir, "figures").glob("*.png")} == drawn


def test_a_test_without_training_has_a_summary_too(tmp_path):
    trainer = Trainer(
        accelerator="cpu", default_root_dir=tmp_path, callbacks=[RunSummary()], limit_test_batches=1,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.test(
        CoordinateRegression(StridedRegressor()), NotSoClevrDataModule("quadrant", canvas=16, size=3), verbose=False
    )
    assert "test/distance" in json.loads(Path(trainer.log_dir, "summary.json").read_text())["test"]


@pytest.mark.parametrize("file", ["checkpoints/last.ckpt", "summary.json", "checkpoints/nothing.txt"])
def test_an_evaluation_leaves_the_files_of_a_fit_as_they_are(file, tmp_path):
    """Also those of a fit that was interrupted, which `compare` reads and `--ckpt_path last` resumes."""
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"curve": []}')
    (tmp_path / "config.yaml").write_text("of the fit")
    trainer: Any = SimpleNamespace(
        callback_metrics={}, loggers=[], log_dir=str(tmp_path), global_step=0, is_global_zero=True,
        strategy=SimpleNamespace(broadcast=lambda value: value, barrier=lambda: None),
    )  # fmt: skip
    parser = SimpleNamespace(save=lambda config, path, **options: Path(path).write_text("of the test"))
    before = {found: found.read_text() for found in tmp_path.rglob("*") if found.is_file()}
    SavedConfig(parser, None, overwrite=True).setup(trainer, LightningModule(), "test")
    RunSummary().on_test_end(trainer, LightningModule())
    kept = {found: found.read_text() for found in tmp_path.rglob("*") if found.is_file()} == before
    assert kept == (not file.endswith(".txt"))


@pytest.mark.parametrize(
    ("configured", "kinds"),
    [
        ([], [BestCheckpoint, LastCheckpoint, CheckpointingPreemption]),
        ([ModelCheckpoint(monitor="val/a")], [ModelCheckpoint, LastCheckpoint, CheckpointingPreemption]),
        ([ModelCheckpoint()], [BestCheckpoint, ModelCheckpoint, LastCheckpoint, CheckpointingPreemption]),
        ([LastCheckpoint(), Preemption()], [BestCheckpoint, LastCheckpoint]),
        (
            [OnExceptionCheckpoint("."), ModelCheckpoint(monitor="val/a")],
            [ModelCheckpoint, OnExceptionCheckpoint, LastCheckpoint, CheckpointingPreemption],
        ),
    ],
    ids=["none", "metric", "no metric", "the same", "a metric last"],
)
def test_every_run_saves_the_last_checkpoint_after_the_best(configured, kinds):
    """Lightning takes the first callback for the one that knows the best; a preempted run stops after the last."""
    found = default_callbacks("val/loss", "min", None, 0, None, {"callbacks": configured})
    assert [type(callback) for callback in found if isinstance(callback, Checkpoint)] == kinds


@pytest.mark.parametrize("last", [[], [LastCheckpoint()]])
def test_a_preempted_run_writes_where_the_last_checkpoint_is(last, tmp_path):
    """A folder of the best ones can be that of several runs."""
    best = ModelCheckpoint(tmp_path / "best", monitor="val/a")
    trainer = Trainer(accelerator="cpu", logger=False, default_root_dir=tmp_path, callbacks=[best, Preemption(), *last])
    for callback in trainer.checkpoint_callbacks:
        callback.setup(trainer, LightningModule(), "fit")
    assert last_path(trainer) == tmp_path / ("checkpoints" if last else "best") / "last.ckpt"


@pytest.mark.parametrize(("max_epochs", "line"), [(60, "epoch 2 of 60, 12 optimiser"), (-1, "epoch 2, 12 optimiser")])
def test_a_line_of_progress_says_how_many_epochs_there_are(max_epochs, line, capsys):
    trainer = SimpleNamespace(current_epoch=1, max_epochs=max_epochs, global_step=12, progress_bar_metrics={"a": 0.5})
    ProgressLines(0.0).on_train_batch_end(trainer, torch.nn.Identity(), None, None, 0)
    assert capsys.readouterr().out.endswith(f"{line} steps: a 0.5\n")


def test_a_run_that_is_shorter_than_an_interval_says_at_its_end_what_it_reached(capsys):
    trainer = SimpleNamespace(global_step=12, progress_bar_metrics={"val/loss": 0.25})
    progress = ProgressLines(3600.0)
    progress.on_train_end(trainer, torch.nn.Identity())
    assert capsys.readouterr().out.endswith("training ended, 12 optimiser steps: val/loss 0.25\n")
    progress.disable()
    progress.on_train_end(trainer, torch.nn.Identity())
    assert not capsys.readouterr().out


class Jitter:
    """A transform with a generator of its own."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(0)


class OwnGenerators(torch.utils.data.Dataset):
    """Draws its samples from the generator of a transform."""

    def __init__(self) -> None:
        self.transforms = [Jitter()]

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(self.transforms[0].random.random(3)).float()


class Noisy(LightningModule):
    """Adds noise from a generator of its own, if it has one."""

    def __init__(self, own: bool) -> None:
        super().__init__()
        self.net = torch.nn.Linear(3, 1)
        if own:
            self.net.noise = torch.Generator()

    def training_step(self, batch):
        return self.net(batch[0]).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize("own", [True, False])
def test_random_generators_that_checkpoints_lack_are_named(own, tmp_path, caplog):
    trainer = Trainer(
        accelerator="cpu", default_root_dir=tmp_path, logger=False, callbacks=[RandomState()], max_epochs=1,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    dataset = torch.utils.data.ConcatDataset([OwnGenerators()])
    if not own:
        dataset = torch.utils.data.TensorDataset(torch.rand(4, 3))
        dataset.space = pytest.importorskip("gymnasium").spaces.Discrete(2, seed=0)  # saved by agents
    with caplog.at_level("INFO"):
        trainer.fit(Noisy(own), torch.utils.data.DataLoader(dataset))
    assert ("generators Linear.noise, Jitter.random are not saved" in caplog.text) == own
    assert ("random generators" in caplog.text) == own


class Tiny(CoordinateRegression):
    """Has a loss far below the metrics of other tasks."""

    def validation_step(self, *arguments):
        self.log("val/tiny", torch.tensor(1.2345678e-9))
        return super().validation_step(*arguments)


@pytest.mark.parametrize("limit_test_batches", [0, 1])
def test_a_summary_keeps_significant_digits_and_says_that_a_run_without_a_test_has_finished(
    limit_test_batches, tmp_path
):
    trainer = Trainer(
        accelerator="cpu", default_root_dir=tmp_path, callbacks=[RunSummary()], limit_test_batches=limit_test_batches,
        limit_train_batches=1, limit_val_batches=1, max_epochs=1, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(Tiny(StridedRegressor()), NotSoClevrDataModule("quadrant", canvas=16, size=3))
    summary = json.loads(Path(trainer.log_dir, "summary.json").read_text())
    assert summary["curve"][0]["val/tiny"] == 1.23457e-9
    assert summary.get("test") == ({} if limit_test_batches == 0 else None)
