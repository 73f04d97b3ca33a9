"""Tests of the position benchmark's tables, their statistics and pages, and of advice on a model of another library."""

import json

import pytest
from scipy import stats

from benchmarks import results
from benchmarks.position import advice, agents, foreign, tables
from lightning_coordconv.classification import ImageFolderDataModule
from lightning_coordconv.position import advise
from lightning_coordconv.position.command import load_model


def test_differences_have_the_interval_of_the_paired_t_test():
    ours, theirs = {0: 0.8, 1: 0.9, 2: 0.7, 3: 0.85}, {0: 0.5, 1: 0.7, 2: 0.3, 3: 0.6, 4: 9.0}
    found = tables.difference(ours, theirs, lower=False)
    expected = stats.ttest_rel(list(ours.values()), list(theirs.values())[:4]).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.verdict, found.pairs) == ("helps", 4)
    assert tables.difference(ours, theirs, lower=True).verdict == "hurts"
    assert tables.difference(ours, {k: v + 0.1 * (-1) ** k for k, v in ours.items()}, False).verdict == "no difference"
    assert tables.difference({0: 1.0, 1: 1.1}, {0: 0.0, 1: 0.1}, False).verdict == "too few seeds"


@pytest.mark.parametrize(
    ("convert", "verdict", "right"),
    [
        (True, "helps", True),
        (True, "no difference", False),
        (False, "no difference", True),
        (False, "hurts", True),
        (False, "helps", False),
        (None, "helps", False),
        (None, "no difference", False),
        (True, "too few seeds", None),
    ],
)
def test_advice_is_right_if_it_converts_where_converting_helps(convert, verdict, right):
    assert tables.is_right(convert, verdict) is right


def write_records(folder, experiment, metric, scores):
    for seed, value in enumerate(scores):
        path = folder / experiment / f"seed{seed}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        record = {
            "seed": seed,
            "weights": 1000,
            "test": {f"test/{metric}": value},
            "validation": {f"val/{metric}": value},
        }
        path.write_text(json.dumps(record))


def test_tables_follow_from_records(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(advice, "FOLDER", tmp_path / "advice")
    for arm, scores in {
        "plain": (0.2, 0.25, 0.3),
        "zero_padding": (0.25, 0.25, 0.27),
        "first": (0.98, 1.0, 0.99),
        "advised": (0.99, 1.0, 1.0),
        "first_polar": (0.7, 0.8, 0.9),
        "first_radius": (0.6, 0.6, 0.6),
        "first_constants": (1.0, 1.0, 1.0),
    }.items():
        write_records(tmp_path / "runs", f"position/digits_position_{arm}", "top1", scores)
    write_records(tmp_path / "runs", agents.EXPERIMENTS["plain"], "reward", (0.1, 0.2, 0.3))
    (tmp_path / "advice").mkdir()
    (tmp_path / "advice" / "digits_position.json").write_text(
        json.dumps({"convert": True, "where": ["0", "4"], "encoding": None, "sentences": []})
    )
    row = next(line for line in tables.results().splitlines() if line.startswith("| `digits_position`"))
    assert (
        "| 3 | 1,000 | 1,000 | 0.250 ± 0.050 | 0.257 ± 0.012 | 0.990 ± 0.010 | 0.997 ± 0.006 | polar: 0.800 ± 0.100 |"
        in row
    )
    row = next(line for line in tables.verdicts().splitlines() if line.startswith("| `digits_position`"))
    cells = row.split(" | ")
    assert "**no difference** +0.007" in cells[1]
    assert "**helps** +0.733" in cells[2]
    assert "**helps** +0.740" in cells[3]
    assert "**no difference** -0.190" in cells[4]
    row = next(line for line in tables.encodings().splitlines() if line.startswith("| constants"))
    assert "1.000 ± 0.000 (3) |" in row
    assert "| `digits_position` | convert | `0`, `4` | helps | right |" in tables.advised()
    assert "The advice was right on 1 of 1 tasks." in tables.advised()
    assert "`find_and_touch`" in tables.results()
    assert "`sensor`" not in tables.results()


@pytest.mark.slow
def test_the_page_holds_what_the_records_give():
    page = tables.PAGE.read_text()
    for name, make in tables.TABLES.items():
        assert f"<!-- {name}: {tables.COMMAND} -->\n\n{make()}\n\n<!-- end of {name} -->" in page


def test_the_examples_of_advice_are_those_of_the_record():
    part = f"<!-- foreign: {foreign.COMMAND} -->\n\n{foreign.text()}\n\n<!-- end of foreign -->"
    assert part in foreign.PAGE.read_text()


@pytest.mark.slow
def test_advice_on_a_network_of_timm_and_a_folder_of_images(tmp_path):
    foreign.write_digits(tmp_path / "digits")
    data = ImageFolderDataModule(str(tmp_path / "digits"), image_size=64, num_workers=0)
    found = advise(load_model("timm/resnet18"), data, num_images=200, num_readout_images=8)
    assert found.convert is not True  # training images are random crops, so it is undecided at times
    assert found.translation < 0.01
    assert found.sentences[0].startswith("Class given the centre of the image's contrast")
