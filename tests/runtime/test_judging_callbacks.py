"""Tests of callbacks that watch a metric: direction, when it is judged, the last checkpoint, and thresholds."""

import math

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader

from lightning_coordconv.coordinates import (
    CoordinateClassification,
    DeconvDecoder,
    NotSoClevrDataModule,
)
from lightning_coordconv.runtime.callbacks.defaults import default_callbacks, judge_after_validation, stop_at
from lightning_coordconv.runtime.callbacks.last_checkpoint import LastCheckpoint


class Falling(LightningModule):
    """Its loss falls in each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def training_step(self, batch, batch_idx):
        self.log("train/loss", self.weight, on_step=False, on_epoch=True)
        return self.weight

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.weight)

    def train_dataloader(self):
        return DataLoader([0.0])

    val_dataloader = train_dataloader

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("kind", [ModelCheckpoint, EarlyStopping])
def test_the_worst_value_of_the_task_s_metric_is_not_the_best(kind):
    """Lightning's default is the minimum, also of an accuracy."""
    message = f"mode of {kind.__name__} must be 'max', since a maximum of val/accuracy is best, got 'min'"
    with pytest.raises(ValueError, match=message):
        default_callbacks("val/accuracy", "max", None, 0, None, {"callbacks": [kind(monitor="val/accuracy")]})
    right = kind(monitor="val/accuracy", mode="max")
    assert right in default_callbacks("val/accuracy", "max", None, 0, None, {"callbacks": [right]})
    other = kind(monitor="val/loss")
    assert other in default_callbacks("val/accuracy", "max", None, 0, None, {"callbacks": [other]})


@pytest.mark.parametrize("name", ["save_on_train_epoch_end", "check_on_train_epoch_end"])
def test_a_metric_of_validation_is_judged_after_the_validation(name):
    callbacks = [
        {"class_path": "A", "init_args": {"monitor": "val/loss", name: None}},
        {"class_path": "B", "init_args": {"monitor": "val/loss", name: True}},
        {"class_path": "C", "init_args": {"monitor": "train/loss", name: None}},
        {"class_path": "D", "init_args": {"monitor": None, name: None}},
        {"class_path": "E"},
    ]
    judge_after_validation(callbacks)
    assert [callback["init_args"][name] for callback in callbacks[:4]] == [False, True, None, None]


@pytest.mark.parametrize(
    "options",
    [{"monitor": "train/loss"}, {"monitor": "val/loss"}, {"monitor": "val/loss", "save_on_train_epoch_end": False}],
    ids=["training", "validation", "after the validation"],
)
def test_the_last_checkpoint_knows_the_best(options, tmp_path):
    best, last = ModelCheckpoint(**options), LastCheckpoint()
    stop = EarlyStopping("train/loss", patience=9)
    trainer = Trainer(
        accelerator="cpu", max_epochs=2, logger=False, default_root_dir=tmp_path, callbacks=[stop, best, last],
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(Falling())
    (path,) = tmp_path.rglob("last.ckpt")
    states = torch.load(path, weights_only=True)["callbacks"]
    assert states[best.state_key]["best_model_path"] == best.best_model_path
    assert states[stop.state_key] == stop.state_dict()
    assert "epoch=1" in best.best_model_path


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
