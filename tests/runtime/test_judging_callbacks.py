"""Tests of callbacks that watch a metric: direction, when it is judged, the last checkpoint, and thresholds."""

import math

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import (
    EarlyStopping,
    EMAWeightAveraging,
    LearningRateFinder,
    ModelCheckpoint,
    ModelPruning,
    StochasticWeightAveraging,
)
from torch import nn
from torch.utils.data import DataLoader

from lightning_coordconv.coordinates import (
    CoordConvRegressor,
    CoordinateClassification,
    CoordinateRegression,
    DeconvDecoder,
    NotSoClevrDataModule,
)
from lightning_coordconv.detection import Detector, ObjectDetection
from lightning_coordconv.generative import GAN, ConvDiscriminator, CoordConvGenerator
from lightning_coordconv.runtime.callbacks.defaults import default_callbacks, judge_after_validation, stop_at
from lightning_coordconv.runtime.callbacks.last_checkpoint import LastCheckpoint
from lightning_coordconv.segmentation import SemanticSegmentation
from tests.runtime.runs import SMALL


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
    task = CoordinateClassification(DeconvDecoder(2, 1, 16))
    with pytest.raises(ValueError, match=message):
        task.check_mode(kind(monitor="val/accuracy"), "val/accuracy")
    task.check_mode(kind(monitor="val/accuracy", mode="max"), "val/accuracy")
    task.check_mode(kind(monitor="val/loss"), "val/loss")
    task.check_mode(kind(monitor="val/unknown", mode="max"), "val/unknown")
    with pytest.raises(ValueError, match="must be 'min', since a minimum of val/loss is best, got 'max'"):
        task.check_mode(kind(monitor="val/loss", mode="max"), "val/loss")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ModelCheckpoint", "EarlyStopping"])
@pytest.mark.parametrize(("metric", "best"), [("val/accuracy", "max"), ("val/distance", "min")])
def test_the_command_line_refuses_a_callback_with_the_wrong_mode(cli, capsys, kind, metric, best):
    """Also for a metric that the task is not judged by."""
    wrong = {"min": "max", "max": "min"}[best]
    callback = [
        f"--trainer.callbacks+={kind}",
        f"--trainer.callbacks.monitor={metric}",
        f"--trainer.callbacks.mode={wrong}",
    ]
    with pytest.raises(SystemExit):
        cli("fit", *SMALL, *callback)
    assert f"error: mode of {kind} must be '{best}', since a {best}imum of {metric}" in capsys.readouterr().err


def test_the_best_value_of_each_metric_is_known():
    """Of those that tasks log under names of their own too, as COCO's."""
    detector = Detector("fasterrcnn_mobilenet_v3_large_320_fpn", 2, weights_backbone=None)
    tasks = {
        ObjectDetection(detector): {
            "val/map": "max",
            "val/map_50": "max",
            "test/mar_100": "max",
            "val/segm_map_75": "max",
        },
        SemanticSegmentation(nn.Conv2d(3, 2, 1), 2): {"val/miou": "max", "val/iou_cat": "max", "val/loss": "min"},
        CoordinateRegression(CoordConvRegressor()): {"val/distance": "min", "train/loss": "min", "val/seconds": None},
        GAN(CoordConvGenerator(2, 8, 2), ConvDiscriminator(8, 2), latent_size=2): {
            "val/fid": "min",
            "val/kl_red": "min",
            "val/recall": "max",
        },
    }
    for task, metrics in tasks.items():
        assert {name: task.best_of(name) for name in metrics} == metrics


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


@pytest.mark.parametrize("kind", [StochasticWeightAveraging, EMAWeightAveraging, LearningRateFinder,
                                  ModelPruning])  # fmt: skip
def test_callbacks_that_cannot_work_are_refused_with_a_way_out(kind):
    arguments = {StochasticWeightAveraging: {"swa_lrs": 0.1}, ModelPruning: {"pruning_fn": "l1_unstructured"}}
    callback = kind(**arguments.get(kind, {}))
    with pytest.raises(ValueError, match=rf"{kind.__name__} .*: use (lightning|torch)"):
        default_callbacks("val/loss", "min", None, 0, None, {"callbacks": [callback]})
