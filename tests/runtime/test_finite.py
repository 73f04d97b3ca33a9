"""Tests that NaN or infinite losses and weights stop a run before a save, and that no step waits for its loss."""

import math

import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from lightning_coordconv.coordinates import CoordinateClassification, DeconvDecoder, NotSoClevrDataModule
from lightning_coordconv.core.transfers import LateRead
from lightning_coordconv.runtime.callbacks import finite
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


@pytest.mark.parametrize("steps", [1, 2])
def test_a_loss_on_a_device_is_read_before_its_weights_are_used(steps, tmp_path, monkeypatch):
    """A device is imitated by a loss that says it is on CUDA, and a copy that may not be read within its own step."""
    late, current = [], []

    class Device(LateRead):
        def __init__(self, tensor: torch.Tensor) -> None:
            super().__init__(tensor)
            self.step = current[-1]

        def value(self) -> torch.Tensor:
            late.append(current[-1] - self.step)
            return super().value()

    monkeypatch.setattr(finite, "LateRead", Device)
    monkeypatch.setattr(finite, "is_asynchronous", lambda tensor: True)
    task = Exploding(DeconvDecoder(2, 1, 16))
    task.on_train_batch_start = lambda batch, batch_idx: current.append(batch_idx)  # after the callbacks' hook
    current.append(0)
    saved = ModelCheckpoint(tmp_path, every_n_train_steps=steps, save_top_k=-1)
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, logger=False, callbacks=[StopAtNonFinite(), saved],
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    with pytest.raises(FloatingPointError, match=r"loss of Exploding is nan at step 2"):
        trainer.fit(task, NotSoClevrDataModule("quadrant", canvas=16, size=3))
    for path in tmp_path.iterdir():
        weights = torch.load(path, weights_only=True)["state_dict"]
        assert all(weight.isfinite().all() for weight in weights.values()), path
    assert list(tmp_path.iterdir())
    if steps == 2:
        assert max(late) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_no_step_on_cuda_waits_for_its_loss():
    callback, trainer, task = (
        StopAtNonFinite(),
        Trainer(accelerator="gpu", devices=1),
        Exploding(DeconvDecoder(2, 1, 16)),
    )
    loss = torch.ones((), device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(4):
            callback.on_train_batch_start(trainer, task, None, step)
            callback.on_before_backward(trainer, task, loss)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    callback.on_before_backward(trainer, task, loss * math.nan)
    with pytest.raises(FloatingPointError, match="is nan at step 0"):
        callback.on_save_checkpoint(trainer, task, {})


class BrokenGradient(CoordinateClassification):
    """Its losses are finite; the gradient of its only step is not."""

    def training_step(self, batch, batch_idx):
        outputs = super().training_step(batch, batch_idx)
        return outputs | {"loss": outputs["loss"] + (next(self.parameters()) * 0).sum().sqrt()}


@pytest.mark.parametrize(("limit_val_batches", "saved"), [(0, True), (1, True), (0, False)])
def test_weights_of_a_broken_gradient_are_neither_validated_nor_saved_nor_tested(limit_val_batches, saved, tmp_path):
    saves = [ModelCheckpoint(tmp_path, every_n_train_steps=1)] if saved else []
    trainer = Trainer(
        accelerator="cpu", max_steps=1, val_check_interval=1, limit_val_batches=limit_val_batches, logger=False,
        callbacks=[StopAtNonFinite(), *saves], enable_checkpointing=saved, default_root_dir=tmp_path,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    task = BrokenGradient(DeconvDecoder(2, 1, 16))
    with pytest.raises(FloatingPointError, match=r"weights of BrokenGradient are infinite or NaN after 1 steps.*net\."):
        trainer.fit(task, NotSoClevrDataModule("quadrant", canvas=16, size=3))
    assert not list(tmp_path.rglob("*.ckpt"))
