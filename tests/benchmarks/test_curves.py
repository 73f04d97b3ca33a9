"""Tests of agents' learning curves: interquartile mean, bootstrap interval, table and figure."""

import json

import numpy as np
import pytest

from benchmarks import curves, results


def test_interquartile_mean_by_hand():
    assert curves.interquartile_mean(np.array([5.0])) == 5
    assert curves.interquartile_mean(np.array([3.0, 1.0])) == 2
    assert curves.interquartile_mean(np.arange(8.0)) == np.mean([2, 3, 4, 5])
    # of five values the middle one counts fully, its neighbours by three quarters: 1 + 2 * 0.75 = 2.5 = 5 / 2
    assert curves.interquartile_mean(np.array([-9.0, 1, 2, 4, 100])) == pytest.approx((0.75 * 1 + 2 + 0.75 * 4) / 2.5)


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say():
    """Of normal samples of 20 seeds; a percentile bootstrap is a little narrow."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(50):
        low, high = curves.interval(rng.normal(3, 1, 20))
        hits += bool(low <= 3 <= high)
    assert 0.85 < hits / 50 <= 1


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RUNS", tmp_path)
    for seed, rewards in ((0, (0.0, 0.5, 1.0)), (1, (0.2, 0.7))):
        curve = [
            {"val/timesteps": 100.0 * i, "val/reward": reward, "val/training_reward": 2 * reward}
            for i, reward in enumerate(rewards, 1)
        ]
        run = {"seed": seed, "weights": 1234, "cpu_seconds": 10.0 + seed, "curve": curve, "test": {"test/reward": seed}}
        (tmp_path / "rl").mkdir(exist_ok=True)
        path = tmp_path / "rl" / "a" / f"seed{seed}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(run))


@pytest.mark.slow
def test_table_and_figure(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["curves", "rl/a", "--figure", str(tmp_path / "curve.png")])
    curves.main()
    row = capsys.readouterr().out.splitlines()[-1]
    # both seeds were evaluated at 100 and 200 steps: (0.5 + 0.7) / 2, and the means 0.25 and 0.45
    assert row.startswith("| `rl/a` | 1,234 | 200 | 0.60 (0.50 to 0.70) | 0.35 (0.25 to 0.45) | 0.00, 1.00 |")
    assert (tmp_path / "curve.png").stat().st_size > 5000
    assert curves.table({"rl/none": []}) == "Not run yet."
    monkeypatch.setattr("sys.argv", ["curves", "rl/a", "--metric", "val/training_reward"])
    curves.main()
    assert "| 1.20 (1.00 to 1.40) |" in capsys.readouterr().out
