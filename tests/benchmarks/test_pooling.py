"""Tests of the benchmark of pooled features: its networks, which runs it skips or resumes, and its table."""

import json

import numpy as np
import pytest
from gymnasium import spaces

from benchmarks import pooling, results, sweep
from lightning_coordconv.layers import coordconv_layers
from lightning_coordconv.rl.environments.vector import find, make


@pytest.mark.parametrize("network", pooling.NETWORKS)
@pytest.mark.parametrize("coordinates", pooling.COORDINATES)
@pytest.mark.parametrize("name", ["find_and_touch", "atari_pong"])
def test_arms_differ_in_the_layer_with_coordinates(network, coordinates, name):
    run = pooling.Run(name, network, coordinates, 0, 80)
    arguments = run.policy_kwargs
    space = spaces.Box(0, 255, (4, 84, 84), np.uint8)
    if name == "find_and_touch":
        environment = pooling.ENVIRONMENTS[name]
        space = make(find(environment.env_id, "sb3", environment.options["env_kwargs"], {}), 1).observation_space
    extractor = arguments["features_extractor_class"](space, **arguments["features_extractor_kwargs"])
    layers = list(coordconv_layers(extractor))
    convolutions = [name for name, module in extractor.named_modules() if hasattr(module, "kernel_size")]
    assert layers == {"plain": [], "first": layers[:1], "before_pool": layers[-1:]}[coordinates]
    assert len(layers) == (coordinates != "plain")
    if coordinates == "first":
        assert layers[0] == convolutions[0]


def test_runs_with_a_long_enough_record_are_left_out_and_others_resumed(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RUNS", tmp_path / "runs")
    done = pooling.Run("find_and_touch", "max", "first", 0, 80)
    record = tmp_path / "runs" / done.experiment / "seed0.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"curve": [{"val/timesteps": 80.0}]}))
    shorter = tmp_path / "runs" / pooling.Run("find_and_touch", "mean", "first", 0, 80).experiment / "seed0.json"
    shorter.parent.mkdir(parents=True)
    shorter.write_text(json.dumps({"curve": [{"val/timesteps": 40.0}]}))
    cut = pooling.Run("find_and_touch", "max", "plain", 0, 80)
    last = tmp_path / "logs" / cut.experiment / "seed0" / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    last.touch()
    commands = {}
    monkeypatch.setattr(sweep, "run", lambda config, seed, threads, extra, name: commands.setdefault(name, extra) and 0)
    monkeypatch.setattr("sys.argv", ["pooling", "run", "--environments", "find_and_touch", "--seeds", "0",
                                     "--logs", str(tmp_path / "logs"), "--steps", "80"])  # fmt: skip
    pooling.main()
    assert len(commands) == 11
    assert f"--ckpt_path={last}" in commands["pooling_find_and_touch_max_plain"]
    assert not any("ckpt_path" in each for each in commands["pooling_find_and_touch_mean_plain"])
    assert "--model.total_timesteps=80" in commands["pooling_find_and_touch_mean_plain"]


def test_the_table_has_every_arm_with_a_record(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RUNS", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(f"before\n<!-- pooling: {pooling.COMMAND} -->\nold\n<!-- end of pooling -->\nafter\n")
    monkeypatch.setattr(results, "PAGE", page)
    for seed, reward in ((0, 0.1), (1, 0.3)):
        run = pooling.Run("find_and_touch", "max", "first", seed, 80)
        path = tmp_path / run.experiment / f"seed{seed}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        row = {"val/timesteps": 80.0, "val/reward": reward}
        path.write_text(json.dumps({"seed": seed, "weights": 1234, "cpu_seconds": 10.0, "curve": [row],
                                    "test": {"test/reward": reward}}))  # fmt: skip
    monkeypatch.setattr("sys.argv", ["pooling", "table"])
    assert pooling.main() == 0
    lines = [line for line in page.read_text().splitlines() if line]
    assert [lines[0], lines[2], lines[-1]] == ["before", "`find_and_touch`:", "after"]
    rows = [line for line in lines if "rl/pooling" in line]
    assert len(rows) == 1
    assert rows[0].startswith("| `rl/pooling_find_and_touch_max_first` | 1,234 | 80 | 0.20 (0.10 to 0.30)")
