"""Tests that runs resumed within an epoch end with the same weights: accumulated gradients, ranks, frozen weights."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from torch import Tensor, nn

from lightning_coordconv.coordinates import CoordinateRegression, NotSoClevrDataModule
from lightning_coordconv.layers import CoordConv2d
from lightning_coordconv.runtime import callbacks
from lightning_coordconv.runtime.callbacks import default_callbacks
from lightning_coordconv.runtime.callbacks.finetuning import FreezeUntil
from tests.slow import slow_except

THREE: dict[str, Any] = {"accumulate_grad_batches": 3}


class SaveAfter(Callback):
    """Saves a checkpoint after each batch or validation, and each epoch, as ``<number of batches>.ckpt``."""

    def __init__(self, folder: Path, validation: bool = False) -> None:
        self.folder, self.validation, self.batches = folder, validation, 0

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.batches += 1
        if not self.validation:
            trainer.save_checkpoint(self.folder / f"{self.batches}.ckpt")

    def on_train_epoch_end(self, trainer: Trainer, *_: Any) -> None:
        trainer.save_checkpoint(self.folder / f"{self.batches}.ckpt")

    def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
        if self.validation and not trainer.sanity_checking:
            trainer.save_checkpoint(self.folder / f"{self.batches}.ckpt")


def train(folder: Path, *others: Callback, resume: Path | None = None, **options: Any) -> dict[str, Tensor]:
    """Train two epochs of eight batches with the callbacks of the command line, and return the weights."""
    seed_everything(0)
    net = nn.Sequential(CoordConv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, 2), nn.Sigmoid())
    task = options.pop("kind", CoordinateRegression)(net, optimizer=lambda groups: torch.optim.Adam(groups, lr=0.01))
    options = {"max_epochs": 2, "limit_val_batches": 1} | options
    defaults = default_callbacks("val/loss", "min", None, 0, resume, {"enable_progress_bar": False})
    defaults = options.pop("instead", lambda: defaults)()
    trainer = Trainer(
        accelerator="cpu", default_root_dir=folder, logger=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, callbacks=[*others, *defaults], **options,
    )  # fmt: skip
    data = NotSoClevrDataModule("quadrant", canvas=8, size=3, batch_size=4)
    trainer.fit(task, data, ckpt_path=resume, weights_only=True)
    return weights(task)


class Accumulating(CoordinateRegression):
    """Takes a step after each third batch of an epoch by its own rule."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        self.manual_backward(super().training_step(batch, batch_idx)["loss"] / 3)
        if batch_idx % 3 == 2:
            optimizer.step()
            optimizer.zero_grad()


def weights(task: LightningModule) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in task.named_parameters()}


def differences(
    folder: Path, points: tuple[int, ...], validation: bool = False, **options: Any
) -> list[tuple[int, str]]:
    """Resume a run after some numbers of batches; return where it ends with other weights, and the names of these."""
    others = options.pop("others", lambda: [])
    whole = train(folder / "whole", *others(), SaveAfter(folder, validation), **options)
    found = []
    for point in points:
        again = train(folder / str(point), *others(), resume=folder / f"{point}.ckpt", **options)
        found += [(point, name) for name, weight in whole.items() if not torch.equal(again[name], weight)]
    return found


@pytest.mark.slow
def test_gradients_that_wait_for_the_step_are_resumed(tmp_path):
    assert differences(tmp_path, (5,), accumulate_grad_batches=3) == []


@pytest.mark.slow
def test_gradients_are_resumed_at_each_batch_of_an_accumulation(tmp_path):
    """Of three batches, and of the two that are left at the end of an epoch."""
    assert differences(tmp_path, (1, 2, 4, 7, 13), accumulate_grad_batches=3) == []


def test_gradients_that_a_task_accumulates_itself_are_resumed(tmp_path):
    assert differences(tmp_path, (2, 4, 6, 13), kind=Accumulating) == []


@pytest.mark.slow
def test_gradients_that_wait_during_a_validation_are_resumed(tmp_path):
    assert differences(tmp_path, (2, 4, 6, 14), validation=True, accumulate_grad_batches=4, val_check_interval=2) == []


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_gradients_of_all_ranks_are_resumed(tmp_path, ranks):
    """In a process that has not computed gradients: autograd's threads do not survive a fork."""
    code = (
        f"from {__name__} import resume_ranks; from pathlib import Path; resume_ranks({ranks}, Path({str(tmp_path)!r}))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)


def resume_ranks(ranks: int, folder: Path) -> None:
    two: dict[str, Any] = {"accumulate_grad_batches": 3, "max_epochs": 1, "devices": 2, "strategy": "ddp_fork"}
    whole = train(folder / "whole", SaveAfter(folder), **two)
    one = {"devices": 1, "strategy": "auto"} if ranks == 1 else {}
    again = train(folder / "again", resume=folder / "2.ckpt", **two | one)
    for name, weight in whole.items():
        torch.testing.assert_close(again[name], weight, msg=name)


@pytest.mark.parametrize("options", slow_except([{"kind": Accumulating}], [{"kind": Accumulating}, THREE]), ids=str)
def test_a_step_that_nothing_waits_for_adds_nothing_to_a_checkpoint(tmp_path, options):
    train(tmp_path, SaveAfter(tmp_path), max_epochs=1, **options)
    found = [path for path in tmp_path.glob("*.ckpt") if "accumulated_gradients" in torch.load(path, weights_only=True)]
    assert {path.stem for path in found} == {"1", "2", "4", "5", "7"} | ({"8"} if options != THREE else set())


@pytest.mark.slow
def test_a_checkpoint_of_a_resumed_run_holds_its_gradients_before_its_first_step(tmp_path):
    class SaveFirst(Callback):
        def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
            trainer.save_checkpoint(tmp_path / "again.ckpt")
            trainer.should_stop = True

    train(tmp_path, SaveAfter(tmp_path), max_epochs=1, **THREE)
    train(tmp_path / "again", SaveFirst(), resume=tmp_path / "2.ckpt", max_epochs=1, **THREE)
    first, again = (torch.load(tmp_path / f"{name}.ckpt", weights_only=True) for name in ("2", "again"))
    torch.testing.assert_close(again["accumulated_gradients"], first["accumulated_gradients"], rtol=0, atol=0)


def recipe() -> list[Callback]:
    """Return the callbacks with which a run in Python resumes exactly, as the documents have them."""
    page = (Path(__file__).parents[2] / "docs/python.md").read_text()
    (names,) = re.findall(r"give both runs (.*?) of\s+`lightning_coordconv.runtime.callbacks`", page, re.DOTALL)
    return [getattr(callbacks, name)() for name in re.findall(r"`(\w+)\(\)`", names)]


@pytest.mark.parametrize("options", [THREE, {"max_steps": 14, "max_epochs": -1}], ids=str)
def test_a_run_in_python_resumes_with_the_callbacks_of_its_page(tmp_path, options):
    """Within an accumulation, and at the end of an epoch in a run with ``max_steps``."""
    assert differences(tmp_path, (4, 8), instead=recipe, **options) == []


@pytest.mark.slow
def test_frozen_weights_stay_frozen(tmp_path):
    assert differences(tmp_path, (3, 9), others=lambda: [FreezeUntil(1, ("net.2.*",))]) == []
