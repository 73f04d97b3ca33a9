"""Tests of which runs the command ``compare`` counts, and which of them form an arm."""

import random
from pathlib import Path

import pytest
import yaml

from lightning_coordconv.runtime.comparison.arms import gather
from lightning_coordconv.runtime.comparison.runs import find_runs
from tests.runtime.compared_runs import compare, write_csv, write_summary
from tests.slow import slow_except


def test_the_order_of_runs_does_not_change_the_arms(logs):
    runs = find_runs([logs])
    expected = {arm.name: arm.seeds for arm in gather(runs)}
    for _ in range(5):
        random.shuffle(runs)
        assert {arm.name: arm.seeds for arm in gather(runs)} == expected


def test_runs_of_one_name_with_other_options_are_other_arms(logs):
    write_summary(logs / "a" / "version_7", "a", 0, 0.9, lr=0.3)
    assert [arm.name for arm in gather(find_runs([logs]))] == ["a (model.lr=0.1)", "a (model.lr=0.3)", "b"]


def test_an_option_that_is_null_differs_from_one_that_is_not_set(logs):
    write_summary(logs / "a" / "version_7", "a", 0, 0.9, lr=0.1, decay=None)
    write_summary(logs / "a" / "version_8", "a", 0, 0.9, lr=0.1, decay=0.5)
    names = ["a (model.decay not set)", "a (model.decay=null)", "a (model.decay=0.5)", "b"]
    assert [arm.name for arm in gather(find_runs([logs]))] == names


def test_a_number_is_the_same_option_with_and_without_a_point(logs):
    for seed, rate in enumerate((1, 1.0, 1)):
        write_summary(logs / "c" / f"version_{seed}", "c", seed, 0.9, lr=rate)
    assert [(arm.name, arm.seeds) for arm in gather(find_runs([logs]))][-1] == ("c", [0, 1, 2])


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
