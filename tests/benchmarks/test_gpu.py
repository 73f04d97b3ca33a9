"""The GPU benchmark: its CPU mode runs every part, an interrupted run continues, a part that hangs is stopped."""

import json
import math

import pytest
import torch

from benchmarks.gpu import run
from benchmarks.gpu.parts import PARTS, SMOKE, Part
from benchmarks.gpu.tables import table

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="the benchmark would measure the GPU for minutes")


def test_the_time_limits_add_up_to_eight_minutes():
    assert sum(part.limit for part in PARTS.values()) <= 480


@pytest.mark.slow
def test_every_part_runs_on_a_cpu(tmp_path, capsys):
    out = tmp_path / "gpu.json"
    assert run.main(["--out", str(out)]) == 0
    results = json.loads(out.read_text())
    assert results["environment"]["device"] == "cpu"
    statuses = {name: part["status"] for name, part in results["parts"].items()}
    assert statuses == dict.fromkeys(PARTS, "done") | {"layer_graph": "skipped"}
    for name, part in results["parts"].items():
        assert part["rows"] or name == "layer_graph"
        for number in (value for row in part["rows"] for value in row.values() if isinstance(value, float)):
            assert math.isfinite(number)
    layers = [row["layer"] for row in results["parts"]["layer_eager"]["rows"]]
    assert {"plain", "coordconv", "kept grid", "concat", "folded"} <= set(layers)
    assert [row["ranks"] for row in results["parts"]["ranks"]["rows"]] == [1, 2]
    assert "coordconv" in capsys.readouterr().out
    before = out.stat().st_mtime_ns
    assert run.main(["--out", str(out), "--parts", *(name for name in PARTS if name != "layer_graph")]) == 0
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
def test_the_smoke_run_tells_configs_that_run_from_those_without_data(tmp_path):
    out = tmp_path / "gpu.json"
    experiments = ["coordinates/classification_uniform_coordconv", "detection/coco_conv"]
    assert run.main(["--out", str(out), "--smoke", *experiments]) == 0
    rows = json.loads(out.read_text())["parts"]["smoke"]["rows"]
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
