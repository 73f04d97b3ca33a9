"""Tests that tasks and data modules have the attributes that the protocols declare, and that samples are checked."""

import pytest

from lightning_coordconv.coordinates import CoordinateClassification, DeconvDecoder, NotSoClevrDataModule
from lightning_coordconv.core.protocols import DataOfTask, TaskOfCallbacks, TaskOfData, check_samples
from lightning_coordconv.segmentation import MaskFolderDataModule


def test_tasks_and_data_modules_meet_the_protocols():
    task = CoordinateClassification(DeconvDecoder(2, 1, 16))
    assert isinstance(task, TaskOfCallbacks)
    assert isinstance(task, TaskOfData)
    assert isinstance(NotSoClevrDataModule(), DataOfTask)
    assert not isinstance(DeconvDecoder(2, 1, 16), TaskOfCallbacks)


def test_samples_without_a_key_that_the_task_reads_are_refused():
    task = CoordinateClassification(DeconvDecoder(2, 1, 16))
    check_samples(task, NotSoClevrDataModule())
    message = (
        r"CoordinateClassification reads \['held_out', 'onehot', .*the samples of MaskFolderDataModule do not have"
    )
    with pytest.raises(ValueError, match=message):
        check_samples(task, MaskFolderDataModule("anywhere", num_classes=2))


class Fixed(NotSoClevrDataModule):
    def __init__(self) -> None:
        super().__init__()


class HandingOn(NotSoClevrDataModule):
    def __init__(self, **arguments) -> None:
        super().__init__(**arguments)


@pytest.mark.parametrize(("kind", "named"), [(NotSoClevrDataModule, False), (HandingOn, False), (Fixed, True)])
def test_data_that_take_no_seed_are_named(kind, named, caplog):
    with caplog.at_level("INFO"):
        check_samples(CoordinateClassification(DeconvDecoder(2, 1, 16)), kind())
    assert ("Fixed takes no argument seed" in caplog.text) is named
