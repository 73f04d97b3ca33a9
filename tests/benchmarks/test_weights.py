"""Tests of the shipped weights: files match their record and page, and reach its results; shrinking a checkpoint."""

import json

import pytest
import torch

from benchmarks import weights
from benchmarks.weights import RECORD, WEIGHTS, entries, fill, measure, shrink
from lightning_coordconv.core.shipped import shipped_weights

RECORDED = json.loads(RECORD.read_text())


def test_the_record_describes_the_files():
    assert {name: path.stat().st_size for name, path in shipped_weights().items()} == {
        name: row["bytes"] for name, row in RECORDED.items()
    }
    assert {name: row["experiment"] for name, row in RECORDED.items()} == {
        name: shipped.experiment for name, shipped in WEIGHTS.items()
    }
    for name, path in shipped_weights().items():
        assert path.parent.parent.name == WEIGHTS[name].domain


def test_the_page_is_up_to_date():
    before = weights.PAGE.read_text()
    fill(weights.PAGE, weights.COMMAND, {"weights": entries})
    after = weights.PAGE.read_text()
    weights.PAGE.write_text(before)
    assert after == before, "run python -m benchmarks.weights"


@pytest.mark.slow
@pytest.mark.parametrize("name", WEIGHTS)
def test_the_files_reach_their_results(name, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["lightning-coordconv"])
    tolerance = {"sort_of_clevr": 0.02, "find_and_touch": 0.02}.get(name, 0.001)  # another CPU rounds differently
    assert measure(name, tmp_path) == pytest.approx(RECORDED[name]["value"], abs=tolerance)


def test_shrinking_keeps_weights_and_what_they_share_and_drops_training_state(tmp_path):
    shared = torch.rand(1000)
    checkpoint = {
        "state_dict": {"a": shared, "b": shared, "steps": torch.tensor(3)},
        "optimizer_states": [shared.clone()],
        "inference": {"task": "x"},
    }
    found = shrink(checkpoint, torch.float16)
    assert set(found) == {"state_dict", "inference"}
    torch.save(found, tmp_path / "small.ckpt")
    assert (tmp_path / "small.ckpt").stat().st_size < 2 * 2 * 1000
    assert found["state_dict"]["a"].dtype == torch.float16
    assert found["state_dict"]["steps"] == 3
    assert torch.equal(found["state_dict"]["b"], shared.half())
