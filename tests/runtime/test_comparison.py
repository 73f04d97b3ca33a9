"""Tests of the command ``compare``: which runs form an arm, tables, written files, figures, and refused arguments."""

import csv
import hashlib
import itertools
import json
import random
from pathlib import Path

import pytest
import yaml
from matplotlib.image import imread

from lightning_coordconv.runtime.comparison.arms import Arm, gather
from lightning_coordconv.runtime.comparison.figure import draw
from lightning_coordconv.runtime.comparison.runs import Run, find_runs
from tests.runtime.compared_runs import compare, fails, write_csv, write_summary
from tests.slow import slow_except


@pytest.fixture
def logs(tmp_path):
    """Two arms of three seeds; the second is better by 0.2, and has one seed that the first lacks."""
    for k, (seed, accuracy) in enumerate([(0, 0.5), (1, 0.6), (2, 0.4)]):
        write_summary(tmp_path / "logs" / "a" / f"version_{k}", "a", seed, accuracy, lr=0.1)
        write_summary(tmp_path / "logs" / "b" / f"version_{k}", "b", seed + 1, accuracy + 0.2, lr=0.2)
    return tmp_path / "logs"


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
    assert contents(logs) == before


def test_the_order_of_runs_does_not_change_the_arms(logs):
    runs = find_runs([logs])
    expected = {arm.name: arm.seeds for arm in gather(runs)}
    for _ in range(5):
        random.shuffle(runs)
        assert {arm.name: arm.seeds for arm in gather(runs)} == expected


def test_runs_of_one_name_with_other_options_are_other_arms(logs):
    write_summary(logs / "a" / "version_7", "a", 0, 0.9, lr=0.3)
    assert [arm.name for arm in gather(find_runs([logs]))] == ["a (model.lr=0.1)", "a (model.lr=0.3)", "b"]


def test_of_a_seed_that_was_run_twice_the_newest_run_counts(logs, capsys):
    write_summary(logs / "a" / "version_7", "a", 1, 0.9, lr=0.1)
    (logs / "a" / "version_1" / "notes.txt").write_text("younger than all metrics")
    arm = gather(find_runs([logs]))[0]
    assert arm.by_seed("test/accuracy") == {0: 0.5, 1: 0.9, 2: 0.4}
    compare(logs)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"Not counted: 1 run with a newer run of the same seed: {logs / 'a' / 'version_1'} (seed 1)."


def test_a_run_that_logged_nothing_is_named_and_left_out(logs, capsys):
    compare(logs)
    before = capsys.readouterr().out
    (logs / "a" / "version_9").mkdir()
    (logs / "a" / "version_9" / "metrics.csv").write_text("epoch,step,val_acc\n")
    compare(logs)
    output = capsys.readouterr()
    assert output.out == before
    assert output.err == f"Not counted: {logs / 'a' / 'version_9' / 'metrics.csv'} has no metrics\n"


@pytest.mark.parametrize("version", ["version_{}", "seed{}-0123abcd"])
@pytest.mark.parametrize("given", ["logs", "logs/coordinates", "logs/coordinates/exp"])
def test_an_unfinished_run_is_of_the_arm_of_its_experiment(tmp_path, capsys, version, given):
    experiment = tmp_path / "logs" / "coordinates" / "exp"
    for seed in range(2):
        write_summary(experiment / version.format(seed), "coordinates/exp", seed, 0.5)
    config = yaml.safe_load((experiment / version.format(1) / "config.yaml").read_text())
    logger = {"class_path": "CSVLogger", "init_args": {"save_dir": "logs", "name": "coordinates/exp"}}
    unfinished = experiment / version.format(2)
    write_csv(unfinished, 0.1)
    (unfinished / "config.yaml").write_text(
        yaml.safe_dump(config | {"seed_everything": 2, "trainer": {"logger": logger}})
    )
    (arm,) = gather(find_runs([tmp_path / given]))
    assert (arm.name, arm.seeds) == ("coordinates/exp", [0, 1, 2])


@pytest.mark.parametrize("kind", ["seedless", "seeded", "summary"])
def test_runs_of_different_given_folders_are_different_arms(tmp_path, monkeypatch, capsys, kind):
    monkeypatch.chdir(tmp_path)
    for folder, value in (("old", 0.5), ("new", 0.8)):
        for seed in range(3):
            run = Path(folder, "exp", f"version_{seed}")
            if kind == "summary":
                write_summary(run, "exp", seed, value, lr=0.1)
            else:
                write_csv(run, value, {"seed": seed, "lr": 0.1} if kind == "seeded" else None)
    compare("old", "new")
    table = capsys.readouterr().out
    seeds = "3 runs" if kind == "seedless" else "0, 1, 2"
    assert f"| old/exp | {seeds} | 0.5" in table
    assert f"| new/exp | {seeds} | 0.8" in table
    compare("old/exp", "new/exp/version_0", "new/exp/version_1", "new/exp/version_2")
    again = capsys.readouterr().out
    assert again == table


def test_runs_that_are_given_one_by_one_are_one_arm(logs, capsys):
    compare(logs)
    table = capsys.readouterr().out
    compare(*sorted(logs.glob("*/version_*")))
    assert capsys.readouterr().out == table


def test_a_run_that_is_given_twice_counts_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for number, value in enumerate((0.5, 0.7)):
        write_csv(Path("logs", "exp", f"version_{number}"), value)
    Path("link").symlink_to("logs")
    compare("logs")
    table = capsys.readouterr().out
    for again in (tmp_path / "logs", Path("link"), Path("logs/exp"), Path("logs/exp/version_1")):
        compare("logs", again)
        assert capsys.readouterr().out == table


@pytest.mark.parametrize("name", ["config", "logger", "verbose", "num_workers", "ckpt_path", "figures", "model.seed"])
def test_hyperparameters_of_any_name_tell_arms_apart(tmp_path, name):
    outer, _, inner = name.partition(".")
    for number in range(2):
        write_csv(tmp_path / f"version_{number}", 0.5, {outer: {inner: number} if inner else number, "seed": 0})
    assert [len(arm.runs) for arm in gather(find_runs([tmp_path]))] == [1, 1]


def test_options_of_the_command_line_that_change_nothing_are_no_arms(tmp_path):
    for number in range(2):
        write_csv(tmp_path / f"version_{number}", 0.5)
        logger = {"class_path": "L", "init_args": {"version": number}}
        config = {"seed_everything": number, "figures": number, "trainer": {"logger": logger},
                  "data": {"class_path": "D", "init_args": {"num_workers": number, "seed": number}}}  # fmt: skip
        (tmp_path / f"version_{number}" / "config.yaml").write_text(yaml.safe_dump(config))
    (arm,) = gather(find_runs([tmp_path]))
    assert arm.seeds == [0, 1]


def test_runs_without_a_seed_are_all_counted(tmp_path):
    for number in range(3):
        write_summary(tmp_path / f"v{number}", "a", False, 0.5)
    (arm,) = gather(find_runs([tmp_path]))
    assert len(arm.runs) == 3


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


@pytest.mark.parametrize("option", slow_except(["verbose"], ["verbose", "return_predictions"]))
@pytest.mark.parametrize("files", [["summary.json"], ["events.out.tfevents.1"], []])
def test_the_folder_of_an_evaluation_is_no_run(logs, capsys, option, files):
    """Of ``validate``, ``test`` and ``predict``, which would count as the newest run of a seed."""
    compare(logs)
    before = capsys.readouterr().out
    folder = logs / "a" / "version_9"
    folder.mkdir()
    for name in files:
        (folder / name).write_text('{"test": {"test/accuracy": 0.1}}')
    config = yaml.safe_load((logs / "a" / "version_0" / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {option: None}))
    compare(logs)
    assert capsys.readouterr().out == before


def test_unknown_metrics_and_arms(logs, tmp_path, capsys):
    assert "a has no metric 'none': it has seconds, steps, test/accuracy" in fails(capsys, logs, "--metric", "none")
    assert "no arm 'c': the arms are a, b" in fails(capsys, logs, "--baseline", "c")


def test_a_baseline_can_be_chosen(logs, capsys):
    compare(logs, "--baseline", "b", "--metric", "test/loss")
    assert "| difference to b | pairs | test/loss |" in capsys.readouterr().out
