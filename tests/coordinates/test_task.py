"""Tests of the three coordinate tasks: losses and metrics by hand, NaN outputs, optimisers, learning, checkpoints."""

import math
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer, seed_everything
from torch import nn

from lightning_coordconv.coordinates import (
    CoordConvDecoder,
    CoordConvRenderer,
    CoordinateClassification,
    CoordinateFigures,
    CoordinateRegression,
    CoordinateRendering,
    DeconvDecoder,
    NotSoClevr,
    NotSoClevrDataModule,
    PoolingRegressor,
)
from lightning_coordconv.layers import CoordConv2d
from lightning_coordconv.runtime.checkpoints import load_checkpoint


class Oracle(nn.Module):
    """Answers with a fixed tensor."""

    def __init__(self, answer: torch.Tensor) -> None:
        super().__init__()
        self.answer = nn.Parameter(answer)

    def forward(self, _: torch.Tensor) -> torch.Tensor:
        return self.answer


def sample(*indices: int) -> dict[str, torch.Tensor]:
    return NotSoClevr("all").__getitems__(list(indices))


def test_classification_by_hand():
    batch = sample(0, 3000)
    logits = torch.zeros(2, 64, 64)
    logits[0, 4, 4] = 5.0  # right: (x, y) = (4, 4)
    logits[1, 10, 20] = 5.0  # row 10, column 20
    outputs = CoordinateClassification(Oracle(logits)).evaluate(batch)
    assert outputs["preds"].tolist() == [[4, 4], [20, 10]]
    expected = [math.log(4095 + math.exp(5)) - 5, math.log(4095 + math.exp(5))]
    assert outputs["loss"].item() == pytest.approx(sum(expected) / 2, rel=1e-5)


@pytest.mark.parametrize("kind", [CoordinateClassification, CoordinateRegression, CoordinateRendering])
def test_outputs_of_nan_have_metrics_of_nan(kind):
    batch = sample(0, 3000)
    answer = torch.zeros(2, 2) if kind is CoordinateRegression else torch.zeros(2, 64, 64)
    answer[1, 1] = math.nan  # of one image of two
    task = kind(Oracle(answer))
    outputs = task.evaluate(batch)
    task.val_metrics.update(outputs["preds"], outputs["target"])
    assert all(value.isnan() for value in task.val_metrics.compute().values())


def test_metrics_that_agree_on_a_batch_stay_apart():
    metrics = CoordinateClassification(Oracle(torch.zeros(1, 64, 64))).val_metrics
    target = torch.tensor([[7, 5]])
    for off in (0, 1):
        metrics.update(target + off, target)
    found = {name: value.item() for name, value in metrics.compute().items()}
    assert found == pytest.approx({"val/accuracy": 1 / 2, "val/distance": math.sqrt(2) / 2, "val/manhattan": 2 / 2})


def test_regression_by_hand():
    batch = sample(0, 1)
    outputs = CoordinateRegression(Oracle(torch.tensor([[4 / 64, 4 / 64], [4 / 64, 8 / 64]]))).evaluate(batch)
    assert batch["xy"].tolist() == [[4, 4], [4, 5]]
    assert outputs["loss"].item() == pytest.approx((3 / 64) ** 2 / 4)
    assert outputs["preds"].tolist() == [[4, 4], [4, 8]]


def test_rendering_by_hand():
    batch = sample(0, 1)
    logits = torch.full((2, 64, 64), -3.0)
    logits[:, :9, :9] = 3.0
    task = CoordinateRendering(Oracle(logits))
    outputs = task.evaluate(batch)
    report = task.report(batch, outputs)
    assert report["iou"].tolist() == pytest.approx([1.0, 72 / 90])
    assert report["correct"].tolist() == [True, False]


@pytest.mark.parametrize(
    "task",
    [
        CoordinateClassification(CoordConvDecoder(canvas=64)),
        CoordinateRendering(CoordConvRenderer(canvas=64)),
        CoordinateRegression(PoolingRegressor(canvas=64)),
    ],
    ids=lambda task: type(task).__name__,
)
@pytest.mark.parametrize("canvas", [17, 32, 128])
def test_another_canvas_than_the_networks_is_refused(task, canvas):
    batch = NotSoClevr("all", canvas=canvas).__getitems__([0, 1])
    with pytest.raises(ValueError, match=rf"64 x 64.*{canvas} x {canvas}.*: give net and data the same canvas"):
        task.evaluate(batch)


def test_the_centre_must_be_predicted_to_be_trained():
    task = CoordinateRendering(DeconvDecoder(2, 1), centre_weight=1.0)
    with pytest.raises(ValueError, match=r"centre_weight=1\.0 needs a net that returns the square's centre"):
        task.evaluate(sample(0))
    for weight in (-1.0, math.nan):
        with pytest.raises(ValueError, match=f"centre_weight must be at least 0, got {weight}"):
            CoordinateRendering(DeconvDecoder(2, 1), centre_weight=weight)


def test_weight_decay_applies_only_to_kernels():
    task = CoordinateClassification(DeconvDecoder(2, 1), lambda groups: torch.optim.Adam(groups, weight_decay=0.1))
    groups = task.configure_optimizers().param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert all(parameter.ndim == 4 for parameter in groups[0]["params"])
    assert sum(p.numel() for group in groups for p in group["params"]) == 46_465


def test_schedule_interval_is_checked_by_the_trainer_and_used():
    task = CoordinateClassification(
        DeconvDecoder(2, 1), lr_scheduler=lambda o: torch.optim.lr_scheduler.StepLR(o, 1), lr_scheduler_interval="step"
    )
    assert task.configure_optimizers()["lr_scheduler"]["interval"] == "step"


class SmallDecoder(nn.Sequential):
    """A decoder of 1x1 layers; with plain convolutions its output is the same at every pixel."""

    def __init__(self, layer: type[nn.Conv2d], canvas: int = 16) -> None:
        self.canvas = canvas
        super().__init__(layer(2, 32, 1), nn.ReLU(), nn.Conv2d(32, 32, 1), nn.ReLU(), nn.Conv2d(32, 1, 1))

    def forward(self, xy_scaled: torch.Tensor) -> torch.Tensor:
        tiled = xy_scaled[:, :, None, None].expand(-1, -1, self.canvas, self.canvas)
        return super().forward(tiled).squeeze(1)


def fit(layer: type[nn.Conv2d], folder: object, epochs: int = 12) -> tuple[Trainer, CoordinateClassification]:
    seed_everything(0)
    task = CoordinateClassification(SmallDecoder(layer), lambda groups: torch.optim.Adam(groups, lr=0.01))
    data = NotSoClevrDataModule(canvas=16, size=3, batch_size=4)
    trainer = Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder, check_val_every_n_epoch=epochs,
    )  # fmt: skip
    trainer.fit(task, data)
    return trainer, task


@pytest.mark.slow
def test_coordconv_learns_where_convolution_cannot(tmp_path):
    trainer, _ = fit(CoordConv2d, tmp_path)
    assert trainer.callback_metrics["val/accuracy"] > 0.9
    trainer, _ = fit(nn.Conv2d, tmp_path, epochs=1)
    assert trainer.callback_metrics["val/accuracy"] < 0.1


@pytest.mark.slow
def test_a_checkpoint_made_in_python_loads_safely_and_answers_alike(tmp_path):
    trainer, task = fit(CoordConv2d, tmp_path, epochs=1)
    path = tmp_path / "task.ckpt"
    trainer.save_checkpoint(path)
    loaded = CoordinateClassification.load_from_checkpoint(path, net=SmallDecoder(CoordConv2d), weights_only=True)
    xy_scaled = torch.rand(3, 2)
    assert torch.equal(loaded(xy_scaled), task(xy_scaled))


def test_foreign_damaged_and_missing_checkpoints_are_named(tmp_path):
    task = CoordinateClassification(DeconvDecoder(2, 1))
    path = tmp_path / "task.ckpt"
    torch.save({"state_dict": CoordinateClassification(DeconvDecoder(2, 2)).state_dict()}, path)
    with pytest.raises(ValueError, match=r"task.ckpt holds weights of another architecture: size mismatch for net"):
        load_checkpoint(path, task)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"task.ckpt is damaged, or not a checkpoint"):
        load_checkpoint(path, task)
    torch.save({"state_dict": nn.Linear(1, 1)}, path)  # a pickled object, not weights
    with pytest.raises(ValueError, match=r"task.ckpt is not a checkpoint of tensors and plain data only: Weights"):
        load_checkpoint(path, task)
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at nowhere\.ckpt"):
        load_checkpoint("nowhere.ckpt", task)


@pytest.mark.parametrize(("option", "value"), [("canvas", 20), ("size", 5), ("partition", "quadrant"), ("seed", 1)])
def test_an_evaluation_on_positions_of_another_kind_than_those_of_training_warns(tmp_path, option, value):
    trained = NotSoClevrDataModule(canvas=16, size=3).describe()
    with warnings.catch_warnings(record=True, action="always") as caught:
        NotSoClevrDataModule(**{"canvas": 16, "size": 3, option: value}).compare_description(trained)
    said = [str(warning.message) for warning in caught]
    expected = [f"the network was trained on positions with {option}={trained['positions'][option]!r}, and now sees "
                f"{option}={value!r}"]  # fmt: skip
    assert said == ([] if option == "seed" else expected)


def test_figures_of_a_network_in_bfloat16():
    figures = CoordinateFigures(num_samples=2)
    figures.on_test_start(None, None)
    for count in (3, 300):
        square = torch.ones(count, 16, 16, dtype=torch.bfloat16)
        task = SimpleNamespace(report=lambda *_: {}, image_pair=lambda *_, square=square: (square, square))
        figures.on_test_batch_end(None, task, None, None, 0)
    assert figures.sums["test"].unique().tolist() == [303]  # bfloat16 counts to 256
    assert all(sample.numpy().dtype == np.float32 for sample in figures.samples)
