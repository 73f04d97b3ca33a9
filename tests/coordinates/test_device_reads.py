"""Tests that the host never waits for the device in a training step of the coordinate tasks."""

import pytest

from lightning_coordconv.coordinates import (
    CoordConvDecoder,
    CoordConvMaxRegressor,
    CoordConvRegressor,
    CoordConvRenderer,
    CoordinateClassification,
    CoordinateRegression,
    CoordinateRendering,
    DeconvDecoder,
    NotSoClevrDataModule,
    PoolingRegressor,
    StridedRegressor,
    UpsampleDecoder,
)
from tests.slow import slow_except
from tests.step_reads import ALLOWED, reads_of_fit

TASKS = {
    "decoder": lambda: CoordinateClassification(CoordConvDecoder(canvas=16)),
    "decoder, constants": lambda: CoordinateClassification(CoordConvDecoder(canvas=16, coordinates=False)),
    "deconvolution": lambda: CoordinateClassification(DeconvDecoder(2, 1, 16)),
    "upsampling": lambda: CoordinateClassification(UpsampleDecoder(3, 1, 16, coordinates=True)),
    "paper's regressor": lambda: CoordinateRegression(CoordConvRegressor()),
    "max regressor": lambda: CoordinateRegression(CoordConvMaxRegressor()),
    "pooling": lambda: CoordinateRegression(PoolingRegressor(canvas=16)),
    "strided": lambda: CoordinateRegression(StridedRegressor()),
    "renderer": lambda: CoordinateRendering(CoordConvRenderer(canvas=16), centre_weight=0.1),
    "rendering deconvolution": lambda: CoordinateRendering(DeconvDecoder(3, 1, 16)),
}


@pytest.mark.slow
@pytest.mark.parametrize("task", slow_except(["decoder", "renderer", "max regressor"], TASKS))
def test_a_training_step_does_not_wait_for_the_device(task, tmp_path):
    found = reads_of_fit(TASKS[task](), NotSoClevrDataModule(canvas=16, size=3), tmp_path)
    assert found <= set(ALLOWED), found - set(ALLOWED)
