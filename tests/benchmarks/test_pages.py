"""Tests of generated parts of documents: up to date, other text is kept, and missing measurements are named."""

import json

import pytest
import torch

from benchmarks import pages, pooling, results, speed
from benchmarks.claims import __main__ as claims
from benchmarks.gpu.parts import PARTS, Setting
from benchmarks.measure import environment

MADE = {
    "configs/README.md": (results, lambda: pages.fill(results.PAGE, "python -m benchmarks.results", results.TABLES)),
    "configs/README.md, pooling": (
        pooling,
        lambda: pages.fill(results.PAGE, pooling.COMMAND, {"pooling": pooling.tables}),
    ),
    "README.md": (speed, lambda: (speed.main(), claims.write())),
    "docs/claims.md": (claims, claims.write),
    "benchmarks/README.md": (speed, speed.main),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_pages_are_up_to_date(name):
    page = speed.ROOT / name.partition(",")[0]
    module, write = MADE[name]
    before = page.read_text()
    write()
    after = page.read_text()
    page.write_text(before)
    assert after == before, f"run python -m {module.__name__}"


def test_parts_are_replaced_and_the_rest_is_kept(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a: cmd -->\nold\n<!-- end of a -->\nafter\n")
    for text in ("first", "second"):
        pages.fill(page, "cmd", {"a": lambda text=text: text})
        assert page.read_text() == f"before\n<!-- a: cmd -->\n\n{text}\n\n<!-- end of a -->\nafter\n"
    with pytest.raises(SystemExit, match="lacks the markers '<!-- b: cmd -->'"):
        pages.fill(page, "cmd", {"b": str})


def test_what_was_not_measured_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "RESULTS", tmp_path)
    assert speed.summary().endswith("CoordConv is slower. CPU: not measured. CUDA: not measured.")
    assert speed.extremes().count("not measured") == 2
    row = {"task": "train", "dtype": "fp32", "layout": "nchw", "shape": "1,2,3,4,5,6,7", "milliseconds": 1.0}
    parts = {
        f"layer_{mode}": {
            "rows": [
                row | {"mode": mode, "dtype": dtype, "shape": shape, "layer": layer}
                | {"ratio": ratio, "low": ratio, "high": ratio}
                for shape in shapes
                for dtype in ("fp32", "bf16")  # a GPU measures one shape in all ways, then the next
                for layer in ("plain", "coordconv", "concat")
            ]
        }
        for mode, ratio, shapes in (
            ("eager", 1.25, ["1,2,3,4,5,6,7", "2,2,3,4,5,6,7"]),
            ("graph", 1.5, ["2,2,3,4,5,6,7"]),
            ("compiled", 0.5, ["1,2,3,4,5,6,7"]),
        )
    }  # fmt: skip
    machine = {"device": "cuda", "name": "some card", "torch": "2", "threads": 2, "cards": 1}
    found = {"environment": machine, "parts": parts | {"agents": {"rows": [{"speed": 1.0}]}}}
    (tmp_path / "gpu.json").write_text(json.dumps(found))
    assert "CUDA (some card, torch 2)" in speed.summary()
    absent = "not measured"
    assert speed.summary().splitlines()[-2:] == [
        f"| 1 x 2 x 3 x 4 -> 5, 6x6, 7 | 1.25 | {absent} | {absent} | 0.50 | {absent} | {absent} | {absent} |",
        f"| 2 x 2 x 3 x 4 -> 5, 6x6, 7 | 1.25 | {absent} | {absent} | {absent} | {absent} | 1.50 | {absent} |",
    ]
    ends = "0.50 (1,2,3,4,5,6,7) | 0.50 (1,2,3,4,5,6,7) | 0 of 1 |"
    assert f"| cuda | compiled | train | fp32 | nchw | {ends}" in speed.extremes()
    assert speed.extremes().count("| cuda | eager |") == 2
    assert "CPU: not measured; `python -m benchmarks.layer` measures it." in speed.tables()
    assert speed.tables().count("eager, train, bf16") == 1


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="the benchmark would measure the GPU for minutes")
def test_the_layers_of_the_gpu_benchmark_are_described(tmp_path, monkeypatch):
    cpu = Setting(torch.device("cpu"), small=True)
    parts = {name: {"rows": list(PARTS[name].rows(cpu))} for name in ("layer_eager", "layer_compiled")}
    machine = environment(torch.device("cpu"))
    (tmp_path / "gpu.json").write_text(json.dumps({"environment": machine, "parts": parts}))
    monkeypatch.setattr(speed, "RESULTS", tmp_path)
    last = speed.summary().splitlines()[-1]
    assert last.startswith("| 2 x 3 x 8 x 8 -> 4, 3x3, 1 |")
    assert last.count("not measured") == 2  # without a card there are no graphs
    assert speed.tables().count("```text") == 8
