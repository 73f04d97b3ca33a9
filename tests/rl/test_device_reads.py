"""Tests that A2C and PPO train without the host waiting for the device, and copy observations asynchronously."""

import pytest
import torch

from lightning_coordconv.rl import A2C, PPO
from lightning_coordconv.rl.environments.ale import pinned_frames
from tests.device_reads import device_reads
from tests.rl.agents import COORDCONV, data, trainer

ALLOWED = {
    "core/transfers.py:__init__": "the copy is asynchronous on a GPU; on a CPU it is counted as a read",
    "rl/algorithms.py:on_before_optimizer_step": "with target_kl the host decides whether to step; it reads pinned "
    "memory while the device computes gradients",
}
PPO_ARGUMENTS = {"n_steps": 16, "batch_size": 32, "n_epochs": 2, "clip_range_vf": 0.2, "ent_coef": 0.01}
ARMS = {
    "a2c": lambda: A2C(120, policy_kwargs={"features_extractor_class": COORDCONV}, normalize_advantage=True),
    "ppo": lambda: PPO(192, policy_kwargs={"features_extractor_class": COORDCONV}, **PPO_ARGUMENTS),
    "ppo with target_kl": lambda: PPO(
        192, policy_kwargs={"features_extractor_class": COORDCONV}, target_kl=10.0, **PPO_ARGUMENTS
    ),
}


class Watched:
    """Collects what a step reads: loss, gradients, clipping and the hook before the optimiser's step."""

    def __init__(self, task):
        self.task, self.found, self.steps = task, set(), 0
        self.step, self.hook = task.training_step, task.on_before_optimizer_step
        task.training_step, task.on_before_optimizer_step = self.training_step, self.before

    def training_step(self, batch, batch_idx):
        self.steps += 1
        with self.reads():
            return self.step(batch, batch_idx)

    def before(self, optimizer):
        with self.reads():
            self.hook(optimizer)

    def reads(self):
        if torch.cuda.is_available():
            return sync_is_an_error()
        return collected(self.found)


class sync_is_an_error:  # noqa: N801  # used as a context manager
    def __enter__(self):
        torch.cuda.set_sync_debug_mode("error")

    def __exit__(self, *_):
        torch.cuda.set_sync_debug_mode("default")


class collected:  # noqa: N801  # used as a context manager
    def __init__(self, found):
        self.found, self.context = found, device_reads()

    def __enter__(self):
        self.new = self.context.__enter__()

    def __exit__(self, *error):
        self.context.__exit__(*error)
        self.found |= self.new


@pytest.mark.slow
@pytest.mark.parametrize("arm", ARMS)
def test_a_step_reads_nothing(arm, tmp_path):
    task = ARMS[arm]()
    watched = Watched(task)
    run = trainer(tmp_path, log_every_n_steps=10**6)  # the trainer's logging is left out
    if torch.cuda.is_available():
        run = trainer(tmp_path, log_every_n_steps=10**6, accelerator="gpu", devices=1)
    run.fit(task, data(4))
    assert watched.steps >= 6
    places = {place for _, place in watched.found}
    assert places <= (ALLOWED.keys() if arm == "ppo with target_kl" else set())


def test_minibatches_stay_bytes_and_are_copied_without_waiting(tmp_path, monkeypatch):
    copied = []
    monkeypatch.setattr(
        "lightning_coordconv.rl.on_policy.to_device",
        lambda array, device: copied.append((array.dtype.name, array.ndim, device.type)) or torch.tensor(array),
    )
    trainer(tmp_path).fit(A2C(40, policy_kwargs={"features_extractor_class": COORDCONV}), data(4))
    assert len(copied) == 2 * 6  # two updates of observations, actions, values, log-probabilities, advantages, returns
    assert copied[::6] == [("uint8", 4, "cpu")] * 2


def test_frames_of_ale_are_in_pinned_memory_where_there_is_a_gpu(monkeypatch):
    asked, empty = [], torch.empty
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch, "empty", lambda *size, pin_memory, **options: asked.append(pin_memory) or empty(*size, **options)
    )
    frames = pinned_frames((2, 4, 8, 8))
    assert asked == [True]
    assert (frames.dtype, frames.shape) == ("uint8", (2, 4, 8, 8))
