"""Tests of the benchmark of two processes: the ratios in its table, timed runs, and runs that fail."""

import pytest

from benchmarks import ddp


def test_ratios_are_of_the_same_round():
    one, apart, two = [100.0, 200.0, 400.0], [190.0, 300.0, 800.0], [150.0, 400.0, 720.0]
    rates = {"rl/a2c_pong_coordconv": {"32": dict(zip(ddp.WAYS, (one, apart, two), strict=True))}}
    *_, row = ddp.table(rates).splitlines()
    assert row == "| `rl/a2c_pong_coordconv` | 32 | 200 | 800 ms | 1.90 (1.50 to 2.00) | 1.80 (1.50 to 2.00) |"


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "runs"), [(1, 2), (2, 1)])
def test_a_run_is_timed(ranks, runs, monkeypatch):
    config = "coordinates/rendering_uniform_coordconv"
    monkeypatch.setitem(ddp.CASES, config, ddp.Case("data.batch_size", {4: 3}))
    assert ddp.rate(config, 4, ranks, runs) > 1


@pytest.mark.slow
def test_a_run_that_fails_ends_the_others(monkeypatch):
    config = "coordinates/rendering_uniform_coordconv"
    monkeypatch.setitem(ddp.CASES, config, ddp.Case("data.batch_size", {-1: 3}))
    with pytest.raises(SystemExit, match="batch_size"):
        ddp.rate(config, -1, 1, 2)
