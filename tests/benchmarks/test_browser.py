"""Tests of the browser demo's export: files compute what torch does, or are refused; accuracies on both splits."""

import numpy as np
import pytest
import torch

from benchmarks.browser import Painter, check, export, inputs, measure, paint
from lightning_coordconv.coordinates import CoordConvDecoder, DeconvDecoder, NotSoClevr


@pytest.mark.slow
@pytest.mark.parametrize("net", [CoordConvDecoder, DeconvDecoder])
def test_exported_file_paints_as_torch_does(net, tmp_path):
    painter = Painter(net(canvas=16)).eval()
    export(painter, tmp_path / "net.onnx")
    positions = inputs(NotSoClevr("all", "quadrant", canvas=16, size=9))
    found = paint(tmp_path / "net.onnx", positions)
    with torch.no_grad():
        expected = painter(positions).numpy()
    np.testing.assert_allclose(found.sum((1, 2)), 1, rtol=1e-5)
    assert check(expected, found, "net") < 1e-5
    assert str(tmp_path).encode() not in (tmp_path / "net.onnx").read_bytes()
    assert b".py" not in (tmp_path / "net.onnx").read_bytes()


@pytest.mark.parametrize("wrong", [0.5, float("nan")])
def test_a_file_that_paints_otherwise_is_refused(wrong):
    expected = np.zeros((2, 4, 4), np.float32)
    found = expected.copy()
    found[1, 2, 3] = wrong
    with pytest.raises(SystemExit, match="deconv: torch and onnxruntime differ by"):
        check(expected, found, "deconv")


def test_figures_count_positions_of_both_parts():
    positions = NotSoClevr("all", "quadrant")
    x, y = positions.xy.unbind(1)
    painted = torch.zeros(len(positions), 64, 64)
    shifted = x + 3 * positions.held_out  # right on training positions, 3 pixels away on the others
    painted[torch.arange(len(positions)), y, shifted] = 1
    found = measure(painted.numpy(), positions)
    assert found == {"train_accuracy": 1.0, "train_distance": 0.0, "held_out_accuracy": 0.0, "held_out_distance": 3.0}
