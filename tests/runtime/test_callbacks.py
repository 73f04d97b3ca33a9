"""What a run leaves behind: summary, figures, predictions."""

import contextlib
import csv
import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from matplotlib import image
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from pytorch_lightning.trainer.states import TrainerFn

from lightning_coordconv.coordinates import (
    CoordinateClassification,
    CoordinateFigures,
    CoordinateRegression,
    CoordinateRendering,
    DeconvDecoder,
    NotSoClevrDataModule,
    StridedRegressor,
)
from lightning_coordconv.core import PredictionTable
from lightning_coordconv.runtime.callbacks.best_checkpoint import BestCheckpoint, keep_own_files
from lightning_coordconv.runtime.callbacks.defaults import default_callbacks, stop_at
from lightning_coordconv.runtime.callbacks.finetuning import FreezeUntil
from lightning_coordconv.runtime.callbacks.last_checkpoint import LastCheckpoint
from lightning_coordconv.runtime.callbacks.preemption import CheckpointingPreemption
from lightning_coordconv.runtime.callbacks.run_folder import RunFolder
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


class Solved(CoordinateClassification):
    """Reports a perfect accuracy whatever it paints."""

    def evaluate(self, batch):
        outputs = super().evaluate(batch)
        return outputs | {"preds": outputs["target"]}


@pytest.mark.parametrize(("task", "steps"), [(Solved, 1), (CoordinateClassification, 3)])
def test_training_stops_at_the_threshold(task, steps, tmp_path):
    trainer = Trainer(
        accelerator="cpu", max_epochs=3, limit_train_batches=1, logger=False, default_root_dir=tmp_path,
        callbacks=[stop_at("val/accuracy", "max", 1.0)], enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(task(DeconvDecoder(2, 1, 16)), NotSoClevrDataModule("quadrant", canvas=16, size=3))
    assert trainer.global_step == steps


@pytest.mark.parametrize(
    ("mode", "threshold", "value", "stops"),
    [("max", 1.0, 1.0, True), ("max", 0.999, 0.9989, False), ("min", 0.01, 0.01, True), ("min", 0.01, 0.0101, False),
     ("max", 1.0, math.nan, False)],
)  # fmt: skip
def test_a_threshold_is_reached_by_its_own_value(mode, threshold, value, stops):
    callback = stop_at("val/metric", mode, threshold)
    stopped = callback.monitor_op(torch.tensor(value), callback.stopping_threshold)
    assert bool(stopped) == stops


def test_a_test_without_training_has_a_summary_too(tmp_path):
    trainer = Trainer(
        accelerator="cpu", default_root_dir=tmp_path, callbacks=[RunSummary()], limit_test_batches=1,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.test(
        CoordinateRegression(StridedRegressor()), NotSoClevrDataModule("quadrant", canvas=16, size=3), verbose=False
    )
    assert "test/distance" in json.loads(Path(trainer.log_dir, "summary.json").read_text())["test"]


@pytest.mark.parametrize("monitor", ["val/mine", None])
def test_a_configured_checkpoint_leaves_the_last_one(monitor):
    """The best one is first, and a preempted run stops when all have saved."""
    own, idle = ModelCheckpoint(monitor=monitor), FreezeUntil()
    found = default_callbacks("val/loss", "min", None, 0, None, {"callbacks": [idle, own]})
    checkpoints = [type(callback) for callback in found if isinstance(callback, Checkpoint)]
    first = [ModelCheckpoint] if monitor else [BestCheckpoint, ModelCheckpoint]
    assert checkpoints == [*first, LastCheckpoint, CheckpointingPreemption]
    assert idle in found


@pytest.mark.parametrize(
    ("names", "path", "message"),
    [
        (["epoch=0.ckpt"], "last", "holds checkpoints, but no last.ckpt to resume from"),
        (["epoch=0.ckpt", "last.ckpt"], "last", None),
        (["epoch=0.ckpt"], "epoch=0.ckpt", None),
        (["epoch=0.ckpt"], None, "holds the checkpoints of another run"),
        ([], "last", None),
    ],
)
def test_a_run_that_cannot_be_resumed_is_not_started_anew(tmp_path, names, path, message):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    trainer = SimpleNamespace(
        log_dir=str(tmp_path), is_global_zero=True, strategy=SimpleNamespace(broadcast=lambda value: value)
    )
    callback = RunFolder(path if path in ("last", None) else folder / path)
    with pytest.raises(FileExistsError, match=message) if message else contextlib.nullcontext():
        callback.setup(trainer, None, "fit")
    callback.teardown(trainer, None, "fit")


@pytest.mark.parametrize("kept", [True, False])
def test_the_best_checkpoint_of_a_copied_folder_is_found_by_its_name(tmp_path, caplog, kept):
    callback = BestCheckpoint(tmp_path / "new", monitor="val/loss")
    (tmp_path / "new").mkdir()
    if kept:
        (tmp_path / "new" / "best.ckpt").touch()
    old = str(tmp_path / "old" / "best.ckpt")
    state = {"monitor": "val/loss", "best_model_path": old, "kth_best_model_path": old, "last_model_path": "",
             "dirpath": str(tmp_path / "old"), "best_k_models": {old: torch.tensor(0.5)},
             "best_model_score": torch.tensor(0.5)}  # fmt: skip
    checkpoint = {"callbacks": {callback.state_key: state}}
    trainer = SimpleNamespace(checkpoint_callbacks=[callback], state=SimpleNamespace(fn=TrainerFn.FITTING))
    with caplog.at_level("INFO"):
        keep_own_files(trainer, checkpoint)
    new = str(tmp_path / "new" / "best.ckpt")
    if kept:
        callback.load_state_dict(checkpoint["callbacks"][callback.state_key])
        assert (callback.best_model_path, list(callback.best_k_models)) == (new, [new])
    else:
        assert checkpoint == {"callbacks": {}}
        assert f"the best checkpoint so far, {old}, is not in" in caplog.text


def test_small_metrics_are_not_rounded_to_zero(tmp_path):
    trainer = SimpleNamespace(
        callback_metrics={"test/loss": torch.tensor(1.2345678e-9), "test/reward": torch.tensor(123456.7)},
        loggers=[], log_dir=str(tmp_path), global_step=0,
    )  # fmt: skip
    RunSummary().on_test_end(trainer, None)
    found = json.loads((tmp_path / "summary.json").read_text())["test"]
    assert found == {"test/loss": 1.234568e-9, "test/reward": 123456.7}


def test_predictions_that_cannot_be_written_leave_no_file(tmp_path):
    trainer = SimpleNamespace(
        log_dir=str(tmp_path),
        world_size=1,
        is_global_zero=True,
        strategy=SimpleNamespace(broadcast=lambda value: value),
    )
    table = PredictionTable()
    table.on_predict_start(trainer, None)
    with pytest.raises(ValueError, match="shorter"):
        table.write_on_epoch_end(trainer, None, [{"a": torch.arange(9), "b": torch.arange(8)}], [])
    assert list(tmp_path.iterdir()) == []
