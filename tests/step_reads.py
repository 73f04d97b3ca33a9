"""Functions for tests that record, during training steps of a fit, what makes the host wait for the device."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer

from tests.device_reads import device_reads

ALLOWED = {
    ("aten::_local_scalar_dense", "elsewhere"): "Adam's step count, which torch keeps in the host's memory",
    ("item", "elsewhere"): "the same",
}
"""Reads that do not wait for a device, each with the reason."""


class StepReads(Callback):
    """Watches each training step, from the batch on the device to the optimiser's update and the metrics'."""

    def __init__(self) -> None:
        self.found: set[tuple[str, str]] = set()
        self.steps = 0

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self.stack = ExitStack()
        if torch.cuda.is_available():
            torch.cuda.set_sync_debug_mode("error")
            self.stack.callback(torch.cuda.set_sync_debug_mode, "default")
        self.reads = self.stack.enter_context(device_reads())

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.stack.close()
        self.found |= self.reads
        self.steps += 1


def reads_of_fit(task: LightningModule, data: LightningDataModule, folder: Path) -> set[tuple[str, str]]:
    """Return the reads of three training steps, on the GPU if there is one."""
    reads = StepReads()
    trainer = Trainer(
        accelerator="auto", devices=1, max_steps=3, max_epochs=-1, limit_val_batches=0, callbacks=[reads],
        default_root_dir=folder, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(task, data)
    assert reads.steps == 3
    return reads.found
