"""Tests of the GPU benchmark on a CPU: its parts run, done parts are skipped, hanging parts are stopped, and tables."""

import json
import math

import pytest
import torch

from benchmarks.gpu import run
from benchmarks.gpu.layer import KeptGridConv2d
from benchmarks.gpu.parts import PARTS, SMOKE, NotPossibleError, Part, Setting
from benchmarks.gpu.tables import table
from benchmarks.layer import ConcatConv2d

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="the benchmark would measure the GPU for minutes")


def test_the_time_limits_add_up_to_eight_minutes():
    assert sum(part.limit for part in PARTS.values()) <= 480


CPU = Setting(torch.device("cpu"), small=True)
RAN = [pytest.param(name, marks=pytest.mark.slow) if name in ("agents", "ranks") else name for name in PARTS]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # a run of the benchmark is no test of warnings
@pytest.mark.parametrize("name", [part for part in RAN if part != "layer_graph"])
def test_a_part_runs_on_a_cpu(name):
    rows = list(PARTS[name].rows(CPU))
    assert rows == json.loads(json.dumps(rows))
    numbers = [value for row in rows for value in row.values() if isinstance(value, float)]
    assert numbers
    assert all(map(math.isfinite, numbers))
    if name != "coordinates":  # which subtracts times of a few steps: noise can make that negative
        assert min(numbers) > 0
    if name == "layer_eager":
        assert {row["layer"] for row in rows} == {"plain", "plain again", "coordconv", "kept grid", "concat", "folded"}
    if name == "ranks":
        assert [(row["ranks"], row["steps"]) for row in rows] == [(1, 4), (2, 4)]


def test_cuda_graphs_are_skipped_on_a_cpu():
    with pytest.raises(NotPossibleError, match="a CPU has no CUDA graphs"):
        list(PARTS["layer_graph"].rows(CPU))


def test_the_kept_grid_computes_what_the_concatenation_does():
    conv, x = torch.nn.Conv2d(3, 4, 3, stride=2, padding=1), torch.randn(2, 3, 9, 7)
    layer, concat = KeptGridConv2d(conv, x), ConcatConv2d(3, 4, 3, 2, 1)
    with torch.no_grad():
        concat.conv.weight.copy_(torch.cat([conv.weight, layer.coord_weight], 1))
        concat.conv.bias.copy_(conv.bias)
    torch.testing.assert_close(layer(x), concat(x))


@pytest.mark.slow
def test_a_run_in_processes_of_their_parts(tmp_path, capsys):
    out = tmp_path / "gpu.json"
    arguments = ["--out", str(out), "--parts", "gan"]
    assert run.main([*arguments, "layer_graph"]) == 0
    results = json.loads(out.read_text())
    assert results["environment"]["device"] == "cpu"
    assert {name: part["status"] for name, part in results["parts"].items()} == {
        "gan": "done",
        "layer_graph": "skipped",
    }
    assert "coordconv" in capsys.readouterr().out
    before = out.stat().st_mtime_ns
    assert run.main(arguments) == 0
    assert out.stat().st_mtime_ns == before  # nothing was left to do


def test_parts_that_are_done_are_skipped_and_others_run_again(tmp_path, monkeypatch, capsys):
    out, ran = tmp_path / "gpu.json", []

    def fake(name, names):
        ran.append(name)
        return {"status": statuses[name], "message": "", "seconds": 1.0, "limit": 9, "rows": [{"value": 2.5}]}

    monkeypatch.setattr(run, "run", fake)
    statuses = {"gan": "done", "agents": "time limit", "ranks": "failed"}
    assert run.main(["--out", str(out), "--parts", *statuses]) == 1
    assert "failed: ranks" in capsys.readouterr().out
    statuses = dict.fromkeys(statuses, "done")
    assert run.main(["--out", str(out), "--parts", *statuses]) == 0
    assert ran == ["gan", "agents", "ranks", "agents", "ranks"]


def test_results_of_another_machine_are_not_mixed(tmp_path, capsys):
    out = tmp_path / "gpu.json"
    out.write_text(json.dumps({"environment": {"name": "another card"}, "parts": {}}))
    with pytest.raises(SystemExit):
        run.main(["--out", str(out)])
    assert "holds results of another environment" in capsys.readouterr().err


@pytest.mark.slow
def test_a_part_that_hangs_is_stopped_and_one_that_fails_says_why(monkeypatch):
    monkeypatch.setattr(run, "PATIENCE", 1)
    monkeypatch.setattr(run, "ALL", PARTS | {"gan": Part(1, "training:gans")})
    assert run.run("gan", ())["status"] == "time limit"
    monkeypatch.setattr(run, "ALL", PARTS | SMOKE)
    monkeypatch.setattr(run, "DEVICE", torch.device("cpu"))
    monkeypatch.setenv("PYTHONPATH", "nowhere")
    monkeypatch.setattr(run.sys, "executable", "/bin/false")
    assert run.run("gan", ())["status"] == "failed"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_smoke_run_separates_configs_that_run_from_those_without_data():
    experiments = ("coordinates/classification_uniform_coordconv", "detection/coco_conv")
    (part,) = SMOKE.values()
    rows = list(part.rows(CPU._replace(names=experiments)))
    assert [(row["experiment"], row["status"]) for row in rows] == list(
        zip(experiments, ("ok", "refused"), strict=True)
    )
    assert rows[1]["message"]


def test_tables_put_layers_side_by_side():
    case = {"bound": "launches", "task": "train", "dtype": "fp32", "layout": "nchw", "shape": "1,2"}
    timing = {"ratio": 1.0, "low": 0.9, "high": 1.125, "milliseconds": 0.5}
    lines = table([case | timing | {"layer": "plain"}, case | timing | {"layer": "coordconv"}]).splitlines()
    assert lines[0] == "| bound | task | dtype | layout | shape | plain | coordconv |"
    assert lines[2] == "| launches | train | fp32 | nchw | 1,2 | 0.500 ms | 1.00 (0.90-1.12) |"
    assert table([]) == "no rows"
