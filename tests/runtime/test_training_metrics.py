"""Tests that an epoch's training metrics survive a stop and resume within it, also on ranks; means over samples."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer, seed_everything
from torch import nn

from lightning_coordconv.coordinates import CoordinateRegression, NotSoClevrDataModule
from lightning_coordconv.core.metrics import MeanTerms
from lightning_coordconv.detection import DigitFasterRCNN, FieldOfMnistDataModule, ObjectDetection
from lightning_coordconv.layers import CoordConv2d
from lightning_coordconv.runtime.callbacks.randomness import RandomState
from lightning_coordconv.runtime.callbacks.training_metrics import TrainingMetrics


class SaveAt(Callback):
    """Saves a checkpoint after a step."""

    def __init__(self, path: Path, step: int) -> None:
        self.path, self.step = path, step

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def regression() -> tuple[LightningModule, LightningDataModule]:
    net = nn.Sequential(CoordConv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, 2), nn.Sigmoid())
    return CoordinateRegression(net), NotSoClevrDataModule("quadrant", canvas=8, size=3, batch_size=8)


def detection() -> tuple[LightningModule, LightningDataModule]:
    net = ObjectDetection(DigitFasterRCNN(), optimizer=lambda groups: torch.optim.SGD(groups, lr=0.001))
    return net, FieldOfMnistDataModule(num_images=8, num_eval_images=1, batch_size=2)


def fit(parts: Any, *others: Callback, ckpt_path: Path | None = None, **arguments: Any) -> dict[str, float]:
    """Return what the last epoch logged of training."""
    seed_everything(0)
    trainer = Trainer(
        accelerator="cpu", logger=False, callbacks=[TrainingMetrics(), *others], enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0, **arguments,
    )  # fmt: skip
    trainer.fit(*parts(), ckpt_path=ckpt_path, weights_only=True)
    return {name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith("train/")}


@pytest.mark.slow
@pytest.mark.parametrize("parts", [regression, detection])
@pytest.mark.parametrize(("step", "epochs"), [(2, 1), (2, 2), (4, 2), (7, 2)])
def test_a_run_that_goes_on_reports_the_whole_epoch(parts, step, epochs, tmp_path: Path):
    saved = tmp_path / "a.ckpt"
    whole = fit(parts, SaveAt(saved, step), RandomState(), max_epochs=epochs)
    rest = fit(parts, RandomState(), ckpt_path=saved, max_epochs=epochs)
    assert len(whole) > 1
    assert rest == whole


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_ranks_go_on_from_what_all_had_seen(ranks, tmp_path: Path):
    """In a process that has not computed gradients: autograd's threads do not survive a fork."""
    code = f"from {__name__} import go_on; from pathlib import Path; go_on({ranks}, Path({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)


def go_on(ranks: int, folder: Path) -> None:
    saved, two = folder / "a.ckpt", {"devices": 2, "strategy": "ddp_fork"}
    whole = fit(regression, SaveAt(saved, 2), max_epochs=1, **two)
    rest = fit(regression, max_epochs=1, ckpt_path=saved, **(two if ranks == 2 else {}))
    assert len(whole) == 3
    assert rest == pytest.approx(whole, rel=1e-5)


def test_terms_are_means_over_samples():
    metric = MeanTerms()
    metric.update(torch.tensor([1.0, 2.0]), 1)
    metric.update(torch.tensor([4.0, 8.0]), 2)
    assert metric.compute().tolist() == [3.0, 6.0]
    metric.reset()
    metric.update(torch.tensor([1.0, 2.0, 3.0]), 5)
    assert metric.compute().tolist() == [1.0, 2.0, 3.0]
