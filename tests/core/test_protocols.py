"""Tests that tasks and data modules have the attributes that the protocols declare."""

from lightning_coordconv.coordinates import CoordinateClassification, DeconvDecoder, NotSoClevrDataModule
from lightning_coordconv.core.protocols import DataOfTask, TaskOfCallbacks, TaskOfData


def test_tasks_and_data_modules_meet_the_protocols():
    task = CoordinateClassification(DeconvDecoder(2, 1, 16))
    assert isinstance(task, TaskOfCallbacks)
    assert isinstance(task, TaskOfData)
    assert isinstance(NotSoClevrDataModule(), DataOfTask)
    assert not isinstance(DeconvDecoder(2, 1, 16), TaskOfCallbacks)
