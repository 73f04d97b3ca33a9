"""Tests of the tables, files, figures, notes and refused arguments of the command ``compare``."""

import csv
import hashlib
import itertools
import json

import pytest
from matplotlib.image import imread

from lightning_coordconv.runtime.comparison.arms import Arm
from lightning_coordconv.runtime.comparison.figure import draw
from lightning_coordconv.runtime.comparison.runs import Run
from tests.runtime.compared_runs import compare, fails, write_csv, write_summary


def contents(folder):
    return {path: hashlib.sha256(path.read_bytes()).digest() for path in folder.rglob("*") if path.is_file()}


def test_arms_their_means_and_paired_differences(logs, capsys):
    compare(logs)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| arm | seeds | test/accuracy | test/loss |"
    assert lines[2].startswith("| a | 0, 1, 2 | 0.5 (0.4 to 0.6) | 0.5 (0.4 to 0.6) |")
    assert lines[3].startswith("| b | 1, 2, 3 | 0.7 (0.6 to 0.8) |")
    # seeds 1 and 2: 0.7 - 0.6 and 0.8 - 0.4
    assert lines[7].startswith("| b | 2 | 0.25 (0.1 to 0.4) | -0.25 (-0.4 to -0.1) |")


@pytest.mark.slow
def test_files_are_written_where_they_are_wanted_and_the_runs_are_left_as_they_were(logs, tmp_path, capsys):
    before = contents(logs)
    files = {name: tmp_path / f"out.{name}" for name in ("markdown", "csv", "figure")}
    compare(logs, *itertools.chain(*((f"--{name}", file) for name, file in files.items())))
    assert files["markdown"].read_text() == capsys.readouterr().out
    rows = list(csv.DictReader(files["csv"].read_text().splitlines()))
    assert {(row["arm"], row["baseline"], row["metric"]) for row in rows} == {
        (arm, base, metric)
        for arm, base in (("a", ""), ("b", ""), ("b", "a"))
        for metric in ("test/accuracy", "test/loss")
    }
    assert float(rows[0]["mean"]) == pytest.approx(0.5)
    assert [float(value) for value in rows[0]["values"].split()] == [0.5, 0.6, 0.4]
    assert imread(files["figure"]).std() > 0.05
    assert contents(logs) == before
    message = fails(capsys, logs, "--csv", logs / "a" / "version_0" / "out.csv")
    assert message.endswith("is in the folder of a run: name a file elsewhere")
    twice = ("--csv", tmp_path / "a", "--markdown", tmp_path / "a")
    assert fails(capsys, logs, *twice).endswith("must be different files")
    assert contents(logs) == before


def test_values_have_all_their_digits(tmp_path, capsys):
    for seed in range(2):
        write_csv(tmp_path / "logs" / f"seed_{seed}", 123456789 + seed)
    compare(tmp_path / "logs", "--csv", tmp_path / "out.csv")
    (row,) = csv.DictReader((tmp_path / "out.csv").read_text().splitlines())
    assert row["values"] == "123456789 123456790"


def test_pairs_are_counted_for_each_metric(logs, capsys):
    path = logs / "b" / "version_0" / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"test": {"test/accuracy": 0.7}}))
    compare(logs)
    row = capsys.readouterr().out.splitlines()[7]
    assert row.startswith("| b | 2 | 0.25 (0.1 to 0.4) | ")
    assert row.endswith(", 1 pair |")


def test_a_metric_that_one_arm_lacks_is_an_empty_cell(logs, capsys):
    for path in (logs / "b").rglob("summary.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"test": {"test/accuracy": 0.7}}))
    compare(logs)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| arm | seeds | test/accuracy | test/loss |"
    assert lines[3].endswith("|  |")
    assert lines[7].endswith("|  |")


def test_arms_without_a_metric_in_common_have_empty_cells(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / name / "version_0").mkdir(parents=True)
        (tmp_path / name / "version_0" / "metrics.csv").write_text(f"step,test/{name}\n1,0.5\n")
    compare(tmp_path / "a", tmp_path / "b")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "| arm | seeds | test/a | test/b |",
        "|---|---|---|---|",
        "| a | 1 run | 0.5 |  |",
        "| b | 1 run |  | 0.5 |",
    ]


def test_an_arm_without_a_test_does_not_hide_the_tests_of_others(logs, capsys):
    for path in (logs / "b").rglob("summary.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"test": {}}))
    compare(logs)
    assert capsys.readouterr().out.splitlines()[3] == "| b | 1, 2, 3 |  |  |"


@pytest.mark.slow
def test_a_figure_has_all_metrics_arms_and_steps():
    short, long = {1.0: 0.5, 2.0: 0.4}, {1.0: 0.6, 2.0: 0.5, 3.0: 0.2}
    names = [f"m{number}" for number in range(8)]
    a = Arm(
        "a",
        [Run(None, "a", 0, curves=dict.fromkeys(names, short)), Run(None, "a", 1, curves=dict.fromkeys(names, long))],
    )
    apart = [
        Run(None, "b", 0, curves={"m0": {1.0: 1.0, 2.0: 1.0}}),
        Run(None, "b", 1, curves={"m0": {1.5: 1.0, 2.5: 1.0}}),
    ]
    b = Arm("b", [*apart, Run(None, "b", 2)])
    figure = draw([a, b], [*names, "none"])
    assert [axes.get_ylabel() for axes in figure.axes] == names
    lines = [line.get_xdata().tolist() for line in figure.axes[0].lines]
    assert lines == [[1, 2], [1, 2], [1, 2, 3], [], [1, 2], [1.5, 2.5]]
    for axes, seeds in ((figure.axes[0], 2), (figure.axes[1], 0)):
        texts = [text.get_text() for text in axes.get_legend().get_texts()]
        assert texts == ["a, seeds: 2", f"b, seeds: {seeds}"]
    assert figure.get_supxlabel() == "no curves of none"


def test_names_with_bars_stay_in_their_cells(tmp_path, capsys):
    write_summary(tmp_path / "a", "a|b", 0, 0.5)
    compare(tmp_path)
    assert capsys.readouterr().out.splitlines()[2] == r"| a\|b | 0 | 0.5 | 0.5 |"


def test_one_seed_has_no_interval_and_the_table_says_why(tmp_path, capsys):
    write_summary(tmp_path / "a", "a", 0, 0.5)
    compare(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| a | 0 | 0.5 | 0.5 |"
    assert lines[-1] == "Values of one run each: an interval needs at least two seeds."


def test_a_run_that_did_not_finish_is_counted(logs, capsys):
    path = logs / "a" / "version_0" / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"test": {}}))
    compare(logs, "--metric", "test/accuracy")
    assert "| a | 0, 1, 2 | 0.5 (0.4 to 0.6), 2 runs |" in capsys.readouterr().out


@pytest.mark.slow
def test_copies_of_a_run_are_named(logs, tmp_path, capsys):
    """Without a seed, or with another one, they count as runs of their own, and their interval is too narrow."""
    compare(logs)
    assert "same values" not in capsys.readouterr().out
    for number in range(2):
        write_summary(tmp_path / f"c{number}" / "run", "c", 0, 0.25)
        write_summary(logs / "a" / f"version_{number + 7}", "a", number + 7, 0.125, lr=0.1)
    compare(logs, tmp_path / "c0", tmp_path / "c1")  # of two arms, which may well agree
    lines = capsys.readouterr().out.splitlines()
    note = "2 runs have the same values of all metrics (copies, or a seed without effect): "
    assert [line for line in lines if "same values" in line] == [
        f"{note}{logs / 'a' / 'version_7'}, {logs / 'a' / 'version_8'}."
    ]


def test_runs_of_other_lengths_are_told(tmp_path, capsys):
    for name, steps in (("a", 4), ("b", 2)):
        (tmp_path / name).mkdir()
        rows = "".join(f"{step},{1 / step},\n" for step in range(1, steps + 1))
        (tmp_path / name / "metrics.csv").write_text(f"step,val/loss,val/new\n{rows}")
    compare(tmp_path)
    assert capsys.readouterr().out.endswith("\n\nThe last values of val/loss are of steps 2 to 4.\n")


@pytest.mark.parametrize("value", ["nan", "inf"])
@pytest.mark.filterwarnings("error")
def test_values_that_are_not_finite_have_no_interval(tmp_path, capsys, value):
    for number, shown in enumerate((value, 0.5)):
        write_csv(tmp_path / f"version_{number}", shown)
    compare(tmp_path)
    assert f" | 2 runs | {value} |\n" in capsys.readouterr().out


def test_unknown_metrics_and_arms(logs, tmp_path, capsys):
    assert "no run has a metric 'none': the metrics are seconds, steps, test" in fails(capsys, logs, "--metric", "none")
    assert "no arm 'c': the arms are a, b" in fails(capsys, logs, "--baseline", "c")


def test_an_arm_without_a_wanted_metric_has_an_empty_cell(tmp_path, capsys):
    """As trials of a search have that were trained without a test."""
    for name, header in (("a", "val/loss"), ("b", "val/loss,test/loss")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.csv").write_text(f"step,{header}\n1,{','.join(['0.5'] * len(header.split(',')))}\n")
    compare(tmp_path, "--metric", "test/loss")
    output = capsys.readouterr().out
    assert "| a | 1 run |  |\n| b | 1 run | 0.5 |\n" in output
    assert "| difference to a | pairs | test/loss |\n|---|---:|---|\n| b | 0 |  |\n" in output


def test_a_baseline_can_be_chosen(logs, capsys):
    compare(logs, "--baseline", "b", "--metric", "test/loss")
    assert "| difference to b | pairs | test/loss |" in capsys.readouterr().out
