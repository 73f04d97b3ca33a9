"""Tests that a training step of CoordConv2d takes at most 1 % more memory than one of the plain convolution."""

import pytest
import torch

from benchmarks.layer import DTYPES, LAYOUTS, Case, peak_of_training
from benchmarks.shapes import SHAPES
from tests.slow import slow_except


@pytest.fixture
def _two_threads():
    """Each thread of a plain convolution has memory to work in, so the ratio depends on their number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.usefixtures("_two_threads")
@pytest.mark.parametrize("layout", slow_except(["nchw"], LAYOUTS))
@pytest.mark.parametrize("dtype", slow_except(["fp32"], DTYPES))
def test_memory_of_a_training_step(dtype, layout):
    """At most 1.01 times that of the plain one, for the largest of the maps whose coordinate bias taps compute."""
    case = Case(SHAPES[1], dtype, layout, compiled=False, device=torch.device("cpu"))
    x = case.input().requires_grad_()
    with torch.no_grad():
        gradient = case.tensor(case.layer("plain")(x).shape)
    peaks = {kind: peak_of_training(case, kind, x, gradient) for kind in ("plain", "coordconv")}
    assert peaks["coordconv"] <= 1.01 * peaks["plain"]
