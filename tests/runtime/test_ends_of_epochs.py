"""Tests of runs that are interrupted where an epoch or the training ends, and resumed: rows, weights, early stops."""

import csv
import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch import nn

from lightning_coordconv.coordinates import CoordinateRegression, NotSoClevrDataModule
from lightning_coordconv.layers import CoordConv2d
from lightning_coordconv.runtime.callbacks import default_callbacks
from lightning_coordconv.runtime.csv_rows import keep_rows
from lightning_coordconv.runtime.signals import stop_signals


class Stop(Callback):
    """Has the effect of SIGTERM within a batch, or of SIGKILL after it."""

    def __init__(self, batch: int, kill: bool = False) -> None:
        self.left, self.kill = batch, kill

    def on_train_batch_start(self, *_: Any) -> None:
        self.left -= 1
        if self.left == 0 and not self.kill:
            stop_signals.received = signal.SIGTERM
        if self.left < 0 and self.kill:
            raise SystemExit(-9)


@pytest.fixture(autouse=True)
def _no_signal():
    yield
    stop_signals.received = None


def train(folder: Path, *others: Callback, resume: bool = False, **options: Any) -> dict[str, Any]:
    """Train epochs of eight batches, and return the weights, the rows of ``metrics.csv`` and the summary."""
    stop_signals.received = None
    seed_everything(0)
    net = nn.Sequential(CoordConv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, 2), nn.Sigmoid())
    task = CoordinateRegression(net, optimizer=lambda groups: torch.optim.Adam(groups, lr=0.01))
    logger = CSVLogger(folder, "run", "v", flush_logs_every_n_steps=1)
    keep_rows(logger)
    path = Path(logger.log_dir, "checkpoints", "last.ckpt") if resume else None
    options = {"max_epochs": 3, "limit_val_batches": 1, "log_every_n_steps": 1} | options
    configured = {"enable_progress_bar": False, "callbacks": list(others)}
    trainer = Trainer(
        accelerator="cpu", logger=logger, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        callbacks=default_callbacks("val/loss", "min", None, 0, path, configured), **options,
    )  # fmt: skip
    data = NotSoClevrDataModule("quadrant", canvas=8, size=3, batch_size=4)
    trainer.fit(task, datamodule=data, ckpt_path=path, weights_only=True)
    rows = list(csv.DictReader(Path(logger.log_dir, "metrics.csv").read_text().splitlines()))
    summary = json.loads(Path(logger.log_dir, "summary.json").read_text())
    curve = [{name: value for name, value in row.items() if "seconds" not in name} for row in summary["curve"]]
    return {
        "weights": {name: weight.tolist() for name, weight in task.named_parameters()},
        "rows": sorted({tuple(row.items()) for row in rows}),
        "train": summary["train"],
        "curve": curve,
    }


def in_two_parts(folder: Path, stop: Stop, code: int = 75, **options: Any) -> dict[str, Any]:
    watching = options.pop("watching", list)
    with pytest.raises(SystemExit) as raised:
        train(folder, *watching(), stop, **options)
    assert raised.value.code == code
    return train(folder, *watching(), resume=True, **options)


LIMITS = {"epochs": {}, "steps": {"max_epochs": -1, "max_steps": 20}}


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "limit"), [(8, "epochs"), (24, "epochs"), (8, "steps"), (20, "steps")])
def test_a_run_that_is_preempted_where_an_epoch_ends_loses_no_row(tmp_path, batch, limit):
    """Lightning logs the metrics of an epoch after its validation."""
    whole = train(tmp_path / "whole", **LIMITS[limit])
    assert in_two_parts(tmp_path / "parts", Stop(batch), **LIMITS[limit]) == whole


def best_by_training() -> list[Callback]:
    return [ModelCheckpoint(monitor="train/loss")]


def stops_by_training() -> list[Callback]:
    return [EarlyStopping("train/loss", mode="max", patience=2)]


@pytest.mark.slow
@pytest.mark.parametrize("watching", [best_by_training, stops_by_training])
@pytest.mark.parametrize("stop", [(8, False), (8, True)])
@pytest.mark.parametrize("limit", LIMITS)
def test_a_run_that_watches_a_metric_of_training_continues_with_the_next_epoch(tmp_path, watching, stop, limit):
    """The checkpoint is saved at the end of the epoch; with max_steps Lightning would resume within it."""
    options = {**LIMITS[limit], "watching": watching}
    whole = train(tmp_path / "whole", *watching(), **LIMITS[limit])
    assert in_two_parts(tmp_path / "parts", Stop(*stop), -9 if stop[1] else 75, **options) == whole


@pytest.mark.slow
def test_more_steps_after_the_end_of_an_epoch_are_those_of_the_next_one(tmp_path):
    options = {"limit_val_batches": 0, "max_epochs": -1}
    whole = train(tmp_path / "whole", max_steps=20, **options)
    train(tmp_path / "parts", max_steps=16, **options)
    assert train(tmp_path / "parts", resume=True, max_steps=20, **options)["weights"] == whole["weights"]


class AskToStop(Callback):
    """Asks for the end after the first batch, as early stopping does, and counts the checkpoints that follow it."""

    def __init__(self) -> None:
        self.saved: list[int] = []

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        trainer.should_stop = True

    def on_save_checkpoint(self, trainer: Trainer, *_: Any) -> None:
        self.saved.append(trainer.global_step)


@pytest.mark.slow
@pytest.mark.parametrize("least", [{"min_epochs": 2}, {"min_steps": 12}])
def test_a_run_that_may_not_stop_yet_saves_as_others_and_is_preempted_at_once(tmp_path, least):
    asking = AskToStop()
    train(tmp_path / "whole", asking, **least)
    assert set(asking.saved) <= {8, 12, 16}
    asking.saved.clear()
    with pytest.raises(SystemExit):
        train(tmp_path / "parts", Stop(3), asking, **least)
    assert asking.saved == [3]


@pytest.mark.slow
def test_epochs_of_one_batch_without_validation_are_preempted(tmp_path):
    options = {"limit_train_batches": 1, "limit_val_batches": 0, "max_epochs": 5}
    whole = train(tmp_path / "whole", **options)
    with pytest.raises(SystemExit):
        train(tmp_path / "parts", Stop(2), **options)
    last = torch.load(tmp_path / "parts" / "run" / "v" / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 2
    assert train(tmp_path / "parts", resume=True, **options) == whole


@pytest.mark.slow
def test_a_run_that_early_stopping_has_ended_trains_no_further(tmp_path):
    def stopping(patience: int = 1) -> Callback:
        return EarlyStopping("val/loss", min_delta=100, patience=patience, check_on_train_epoch_end=False)

    whole = train(tmp_path, stopping(), max_epochs=6)
    assert len(whole["curve"]) == 2
    assert train(tmp_path, stopping(), resume=True, max_epochs=6) == whole
    patient = train(tmp_path, stopping(3), resume=True, max_epochs=6)  # not the patience of the checkpoint
    assert len(patient["curve"]) == 4


class Seen(Callback):
    """Logs the number of each batch."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        pl_module.log("train/batch", float(batch_idx), on_step=True, on_epoch=False)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [3, 4])
def test_a_run_that_is_preempted_within_an_epoch_logs_the_step(tmp_path, batch):
    """Also if a validation follows the step."""
    options = {"val_check_interval": 4}
    whole = train(tmp_path / "whole", Seen(), **options)
    assert in_two_parts(tmp_path / "parts", Stop(batch), watching=lambda: [Seen()], **options) == whole


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "rows"), [(3, 1), (11, 2)])
def test_a_finished_run_that_trains_further_has_results_of_that_only(tmp_path, batch, rows):
    """`compare` would show the test of the first epoch under the new options."""
    whole = train(tmp_path / "whole")
    train(tmp_path / "parts", max_epochs=1)
    path = tmp_path / "parts" / "run" / "v" / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"test": {"test/loss": 0.0}}))
    with pytest.raises(SystemExit):
        train(tmp_path / "parts", Stop(batch), resume=True)
    summary = json.loads(path.read_text())
    assert not {"train", "test"} & summary.keys()
    assert [row["val/loss"] for row in summary["curve"]] == [row["val/loss"] for row in whole["curve"][:rows]]
    assert train(tmp_path / "parts", resume=True) == whole


@pytest.mark.slow
def test_a_run_that_was_killed_before_it_wrote_its_summary_gets_one(tmp_path):
    options = {**LIMITS["steps"], "limit_test_batches": 0}
    whole = train(tmp_path, **options)
    (tmp_path / "run" / "v" / "summary.json").unlink()
    assert train(tmp_path, resume=True, **options)["curve"] == whole["curve"]
