"""Two processes against one: ratios by hand, and a run of each."""

import pytest

from benchmarks import ddp


def test_ratios_are_of_the_same_round():
    rates = {
        "rl/a2c_pong_coordconv": {"32": {"one process": [100.0, 200.0, 400.0], "two processes": [150.0, 400.0, 720.0]}}
    }
    *_, row = ddp.table(rates).splitlines()
    assert row == "| `rl/a2c_pong_coordconv` | 32 | 200 | 800 ms | 1.80 (1.50 to 2.00) |"


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_run_is_timed(ranks, monkeypatch):
    config = "coordinates/rendering_uniform_coordconv"
    monkeypatch.setitem(ddp.CASES, config, ddp.Case("data.batch_size", {4: 3}))
    assert ddp.rate(config, 4, ranks) > 1
