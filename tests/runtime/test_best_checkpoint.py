"""Tests that a checkpoint whose metric is NaN is never the best, by default and if configured."""

import json
import math
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Trainer

from lightning_coordconv.coordinates import (
    CoordinateClassification,
    DeconvDecoder,
    NotSoClevrDataModule,
)
from lightning_coordconv.runtime.callbacks.best_checkpoint import BestCheckpoint
from tests.runtime.runs import SMALL, TWO


class Undefined(CoordinateClassification):
    """Reports an accuracy that is NaN until the third validation."""

    def on_validation_epoch_end(self):
        self.log("val/score", torch.tensor(math.nan if self.current_epoch < 2 else 0.5))


@pytest.mark.slow
def test_nan_is_never_the_best(tmp_path):
    best = BestCheckpoint(tmp_path, monitor="val/score", mode="max", filename="{epoch}")
    trainer = Trainer(
        accelerator="cpu", max_epochs=3, limit_train_batches=1, logger=False, callbacks=[best],
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(Undefined(DeconvDecoder(2, 1, 16)), NotSoClevrDataModule("quadrant", canvas=16, size=3))
    assert Path(best.best_model_path).name == "epoch=2.ckpt"
    assert [path.name for path in tmp_path.iterdir()] == ["epoch=2.ckpt"]


@pytest.mark.slow
def test_nan_is_never_the_best_of_a_configured_checkpoint(cli, capsys):
    checkpoint = {"class_path": "ModelCheckpoint", "init_args": {"monitor": "val/score", "mode": "max"}}
    model = f"--model={__name__}.Undefined"
    cli("fit", *SMALL, *TWO, model, f"--trainer.callbacks={json.dumps([checkpoint])}", "--trainer.max_epochs=2")
    assert "no checkpoint was chosen as the best: the test uses the last weights" in capsys.readouterr().out
