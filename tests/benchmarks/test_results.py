"""Tests of the tables of run summaries: experiments, cost ratios, region proposals, and generated samples."""

import json

import pytest

from benchmarks import results

CURVE = [
    {"step": 10, "seconds": 1.0, "cpu_seconds": 1.5, "val/accuracy": 0.5},
    {"step": 20, "seconds": 2.0, "cpu_seconds": 2.5, "val/accuracy": 0.895},
    {"step": 30, "seconds": 3.0, "cpu_seconds": 3.5, "val/accuracy": 0.9},
]


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RUNS", tmp_path / "runs")
    for seed, accuracy in ((0, 0.9), (1, 0.7)):
        summary = {
            "experiment": "a/b", "seed": seed, "weights": 1234, "device": "cpu", "threads": 2, "steps": 30,
            "curve": CURVE, "test": {"test/accuracy": accuracy, "test_train/accuracy": 1.0},
        }  # fmt: skip
        path = tmp_path / "logs" / str(seed) / "summary.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(summary))
    results.collect(tmp_path / "logs")


def test_a_table_has_a_row_for_each_experiment_with_runs(runs):
    header, _, row = results.table(["a/b", "a/c"], "accuracy", 2, 0.01).splitlines()
    assert "held-out accuracy" in header
    assert "| 1,234 | 0, 1 | 0.80 ± 0.14 (0.70 to 0.90) | 1.00 ± 0.00 (1.00 to 1.00) |" in row
    assert "| 20 | 2.0 (at most 2.0) | 2.5 |" in row
    assert results.table(["a/c"], "accuracy", 2, 0.01) == "Not run yet."


def test_ratios(runs):
    assert results.ratios([("a/b", "a/b")], "accuracy", 0.01).splitlines()[-1].endswith("| 1x | 1x | 1x |")


def test_proposals_of_either_arm_and_what_coordconv_gains(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RUNS", tmp_path)
    for arm, best in (("conv", 0.5), ("coordconv", 0.6)):
        test = {"test/best_iou": best, "test/closest_iou": 0.4, "test/all_pairs_iou": 0.3}
        run = {"seed": 0, "weights": 81590, "cpu_seconds": 99.6, "test": test, "train": {"train/positive_iou": 0.7}}
        path = tmp_path / "detection" / f"proposals_{arm}" / "seed0.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(run))
    _, _, conv, coordconv, _, gain = results.proposals("", "_same").splitlines()
    assert conv == "| `detection/proposals_conv` | 81,590 | 0 | 0.500 | 0.400 | 0.300 | 0.700 | 100 |"
    assert coordconv.startswith("| `detection/proposals_coordconv` |")
    assert gain.endswith(": +20.0 %.")
    assert results.proposals("_same") == "Not run yet."


def test_samples_stand_below_real_images(runs):
    for path in results.RUNS.rglob("*.json"):
        run = json.loads(path.read_text())
        run["test"] = {"test/entropy_red": 3.5 + run["seed"], "test/data_entropy_red": 4.0, "test/kl": 0.5}
        path.write_text(json.dumps(run | {"cpu_seconds": 60.0}))
    header, _, real, row = results.measures(["a/b", "a/c"], {"entropy_red": "red", "kl": "KL"}).splitlines()
    assert "| red | KL | CPU seconds |" in header
    assert real == "| real images |  |  | 4.00 |  |  |  |"
    assert "| 0, 1 | 4.00 ± 0.71 (3.50 to 4.50) | 0.50 ± 0.00 (0.50 to 0.50) | 60 | cpu, 2 threads |" in row
    assert results.measures(["a/c"], {"kl": "KL"}) == "Not run yet."
