"""Tests that the private names of Lightning and torchmetrics that the package uses exist and work."""

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torchmetrics import MeanMetric

from lightning_coordconv.core import _lightning


def test_a_metric_counts_its_updates():
    metric = MeanMetric()
    _lightning.set_update_count(metric, 3)
    assert metric.update_count == 3, "this release of torchmetrics has no Metric._update_count"


@pytest.mark.parametrize(("owner", "name"), _lightning.NAMES, ids=lambda value: getattr(value, "__name__", value))
def test_names_exist(owner, name):
    assert hasattr(owner, name), f"this release of Lightning has no {owner.__name__}.{name}: adapt core/_lightning.py"


def test_a_module_knows_whether_it_has_a_trainer():
    assert hasattr(LightningModule(), "_trainer"), "this release of Lightning has no LightningModule._trainer"
    assert not _lightning.is_attached(LightningModule())


def test_a_trainer_is_asked_to_stop_after_the_step():
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    for stop in (True, False):
        _lightning.stop_after_step(trainer, stop)
        assert trainer.received_sigterm is stop, "this release of Lightning has no Trainer._signal_connector"


def test_a_metric_keeps_its_dtypes():
    metric = MeanMetric()
    with _lightning.keeping_dtypes([metric]):
        metric.to(torch.bfloat16)
    names = "this release of torchmetrics has no Metric._defaults or Metric._dtype"
    assert {metric.dtype, metric.mean_value.dtype} == {torch.float32}, names
    metric.reset()
    assert metric.mean_value.dtype == torch.float32, names
