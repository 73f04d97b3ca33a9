"""Tests of the line on unequal shares of the last batch: for training steps of the user's own, on several ranks."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lightning_coordconv.core import BaseTask
from lightning_coordconv.core.own_steps import name_unequal_shares


class Plain(BaseTask):
    def training_step(self, batch, batch_idx):
        return torch.zeros(())


class Sharing(BaseTask):
    def training_step(self, batch, batch_idx):
        return torch.zeros(()) * self.share(len(batch))


class Derived(Plain):
    pass


@pytest.mark.parametrize(
    ("kind", "ranks", "said"),
    [(Plain, 2, True), (Derived, 4, True), (Plain, 1, False), (Sharing, 2, False), (BaseTask, 2, False)],
)
def test_own_steps_that_ignore_shares_are_named(kind, ranks, said, caplog):
    task = kind()
    stub: Any = SimpleNamespace(world_size=ranks)
    task._trainer = stub
    name_unequal_shares(task)
    assert [
        f"{kind.__name__} has a training_step of its own, and the {ranks} ranks" in text for text in caplog.messages
    ] == [True] * said
