"""A loss that is no number ends the run before it harms anything."""

import math

import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from lightning_coordconv.coordinates import CoordinateClassification, DeconvDecoder, NotSoClevrDataModule
from lightning_coordconv.runtime.callbacks.finite import StopAtNonFinite


class Exploding(CoordinateClassification):
    """Its loss is not finite in the third step."""

    broken = math.nan

    def training_step(self, batch, batch_idx):
        outputs = super().training_step(batch, batch_idx)
        return outputs if batch_idx < 2 else outputs | {"loss": outputs["loss"] * self.broken}


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_the_run_stops_with_the_weights_of_the_last_good_step(broken, tmp_path):
    task = Exploding(DeconvDecoder(2, 1, 16))
    task.broken = broken
    saved = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1)
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, logger=False, callbacks=[StopAtNonFinite(), saved],
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    data = NotSoClevrDataModule("quadrant", canvas=16, size=3)
    with pytest.raises(
        FloatingPointError, match=rf"loss of Exploding is {broken} at step 2 .*weights are still finite"
    ):
        trainer.fit(task, data)
    last = torch.load(saved.best_model_path, weights_only=True)
    assert last["global_step"] == 2
    for name, tensor in task.named_parameters():
        assert torch.equal(tensor, last["state_dict"][name]), name


def test_broken_weights_are_named(tmp_path):
    task = CoordinateClassification(DeconvDecoder(2, 1, 16))
    with torch.no_grad():
        task.net.layers[0][0].weight[0] = math.nan
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, logger=False, callbacks=[StopAtNonFinite()], default_root_dir=tmp_path,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    with pytest.raises(FloatingPointError, match=r"at step 0 .*not finite themselves: net\.layers\.0\.0\.weight"):
        trainer.fit(task, NotSoClevrDataModule("quadrant", canvas=16, size=3))
