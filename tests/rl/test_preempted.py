"""Tests of agents that SIGTERM stops in or before a validation: it counts nowhere, and is played after resuming."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, seed_everything
from pytorch_lightning.callbacks import EarlyStopping

from lightning_coordconv.rl import A2C
from lightning_coordconv.runtime.callbacks import default_callbacks
from lightning_coordconv.runtime.signals import REQUEUE, stop_signals
from tests.rl.agents import data, trainer

pytestmark = pytest.mark.filterwarnings("ignore:.isinstance.treespec:FutureWarning")


class Stop(Callback):
    """Has the effect of SIGTERM in a step of training or of a validation, counted from 1."""

    def __init__(self, step: int = 0, validation: int = 0) -> None:
        self.left = {"step": step, "validation": validation}

    def on_train_batch_start(self, *_: Any) -> None:
        self._count("step")

    def on_validation_batch_start(self, *_: Any) -> None:
        self._count("validation")

    def _count(self, what: str) -> None:
        self.left[what] -= 1
        if self.left[what] == 0:
            stop_signals.received = signal.SIGTERM


@pytest.fixture(autouse=True)
def _no_signal():
    yield
    stop_signals.received = None


def train(folder: Path, *others: Callback, steps: int = 12, **options: Any) -> dict[str, Any]:
    """Train epochs of four steps of ten environment steps, and return weights, best checkpoint, metrics and curve."""
    stop_signals.received = None
    seed_everything(0)
    last = folder / "checkpoints" / "last.ckpt"
    path = last if last.is_file() else None
    defaults = default_callbacks("val/reward", "max", None, 0, path, {"enable_progress_bar": False})
    stopping = EarlyStopping("val/reward", mode="max", patience=9, check_on_train_epoch_end=False)
    callbacks = [*others, stopping, *defaults]
    options = {"limit_val_batches": 1, "limit_test_batches": 0} | options
    run = trainer(folder, enable_checkpointing=True, callbacks=callbacks, **options)
    task = A2C(total_timesteps=10 * steps, policy="MlpPolicy", learning_rate=(0.01, 0.0))
    run.fit(task, data(2, "CartPole-v1"), ckpt_path=path, weights_only=True)
    curve = json.loads(Path(folder, "summary.json").read_text())["curve"]
    return {
        "weights": [weight.tolist() for weight in task.parameters()],
        "best": Path(run.checkpoint_callback.best_model_path).name,
        "stopping": stopping.best_score.item(),
        "curve": [{name: value for name, value in row.items() if "seconds" not in name} for row in curve],
    }


@pytest.mark.parametrize(
    ("options", "stops"),
    [
        ({}, [{"validation": 1}]),
        ({}, [{"step": 4}, {"validation": 1}, {"step": 1}]),  # the step before, and the one that is repeated
        ({"val_check_interval": 2}, [{"validation": 2}, {"validation": 2}]),
        ({}, [{"step": 12}]),  # of the last step
    ],
)
def test_a_run_that_is_stopped_at_a_validation_ends_as_one_that_is_not(options, stops, tmp_path):
    whole = train(tmp_path / "whole", **options)
    assert len(whole["curve"]) == 12 // options.get("val_check_interval", 4)
    for stop in stops:
        with pytest.raises(SystemExit) as raised:
            train(tmp_path / "parts", Stop(**stop), **options)
        assert raised.value.code == REQUEUE
    assert train(tmp_path / "parts", **options) == whole


def test_the_last_validation_is_finished(tmp_path):
    """Nothing would repeat it: a run that resumes has no step left to train."""
    with pytest.raises(SystemExit):
        train(tmp_path, Stop(validation=3))
    (last,) = tmp_path.rglob("last.ckpt")
    state = torch.load(last, weights_only=True)["callbacks"]["RunSummary"]
    assert [row["val/episodes"] for row in state["curve"]] == [2, 2, 2]


def test_a_rate_that_an_agent_raises_again_is_not_said_to_be_zero(tmp_path, caplog):
    """The schedule of the checkpoint has ended, that of more steps has not."""
    train(tmp_path)
    with caplog.at_level("INFO"):
        train(tmp_path, steps=24)
    assert "the learning rate of the checkpoint is 0" not in caplog.text
