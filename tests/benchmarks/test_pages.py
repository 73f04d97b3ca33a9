"""Tests of generated parts of documents: up to date, other text is kept, and missing measurements are named."""

import json

import pytest

from benchmarks import pages, results, speed
from benchmarks.claims import __main__ as claims

MADE = {
    "configs/README.md": (results, lambda: pages.fill(results.PAGE, "python -m benchmarks.results", results.TABLES)),
    "README.md": (speed, lambda: (speed.main(), claims.write())),
    "docs/claims.md": (claims, claims.write),
    "benchmarks/README.md": (speed, speed.main),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_pages_are_up_to_date(name):
    page = speed.ROOT / name
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
    rows = [
        row | {"mode": mode, "layer": layer, "ratio": ratio, "low": ratio, "high": ratio}
        for mode, ratio in (("eager", 1.25), ("compiled", 0.5))
        for layer in ("plain", "coordconv", "concat")
    ]
    machine = {"device": "cuda", "name": "some card", "torch": "2", "threads": 2}
    (tmp_path / "layer-cuda.json").write_text(json.dumps({"environment": machine, "rows": rows}))
    assert "CUDA (some card, torch 2)" in speed.summary()
    assert speed.summary().endswith(
        "| 1 x 2 x 3 x 4 -> 5, 6x6, 7 | 1.25 | not measured | not measured | 0.50 | not measured |"
    )
    assert (
        "| cuda | compiled | train | fp32 | nchw | 0.50 (1,2,3,4,5,6,7) | 0.50 (1,2,3,4,5,6,7) | 0 of 1 |"
        in speed.extremes()
    )
    assert "CPU: not measured" in speed.tables()
