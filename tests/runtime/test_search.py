"""Tests of hyperparameter search by ``sweep --search``: spaces, best values, resumed studies, failures, errors."""

import time
from pathlib import Path

import numpy as np
import pytest

from lightning_coordconv.runtime.locks import Lock
from lightning_coordconv.runtime.sweep import jobs, search
from tests.runtime.sweeps import LR, NAMES, fails, sweep


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr", "none of the forms"),
        ("lr=normal(0,1)", "none of the forms"),
        ("lr=uniform(0,1", "none of the forms"),
        ("lr=uniform(0)", "two numbers"),
        ("lr=uniform(a,b)", "two numbers"),
        ("lr=int(0.5,2)", "two integers"),
        ("lr=uniform(1,0)", "LOW less than HIGH"),
        ("lr=uniform(0,inf)", "finite bounds"),
        ("lr=uniform(nan,1)", "finite bounds"),
        ("lr=loguniform(0,1)", "above 0"),
        ("lr=choice(a)", "at least two"),
        ("lr=choice(a, b, a)", "all different"),
        ("lr=choice(a, ]", "none of the forms"),
        ("lr=choice([a, b)", "cannot be read"),
    ],
)
def test_broken_spaces(fits, text, message, capsys):
    assert message in fails(capsys, NAMES[0], "--minimize", "val/distance", "--search", text)
    assert fits == []


def test_spaces():
    assert search.parse_space("--lr=loguniform(1e-4,1e-1)") == ("lr", "loguniform", (1e-4, 1e-1))
    assert search.parse_space("n=int(16, 128)") == ("n", "int", (16, 128))
    assert search.parse_space("a=choice(0.1, null, [1, 2], x)") == ("a", "choice", ("0.1", "null", "[1, 2]", "x"))


@pytest.mark.parametrize("texts", [("no", "stem"), ("on", "off"), ("1:30", "2:00"), ("2024-01-01", "b"), ("010", "~")])
def test_choices_are_passed_on_as_they_are_typed(texts):
    """YAML 1.1 reads ``no`` as false, ``1:30`` as 90, ``2024-01-01`` as a date; of an option for texts it is a text."""
    assert search.parse_space(f"a=choice({', '.join(texts)})").values == texts


def test_bounds_are_decimal():
    assert search.parse_space("a=int(010, 20)").values == (10, 20)


def test_the_value_of_a_trial_is_the_mean_of_the_best_in_validation():
    curves = [[{"v/a": 3.0}, {"v/a": 1.0}, {"v/a": float("nan")}], [{"v/a": 2.0}, {"v/b": 0.0}]]
    summaries = [{"curve": curve} for curve in curves]
    assert search.best_value(summaries, "v/a", maximize=False) == 1.5
    assert search.best_value(summaries, "v/a", maximize=True) == 2.5
    with pytest.raises(ValueError, match="no finite 'v/c' in validation: it has v/a"):
        search.best_value(summaries, "v/c", maximize=True)


@pytest.mark.parametrize(("mode", "maximize"), [("max", False), ("min", True)])
def test_a_search_for_the_worst_value_is_refused(mode, maximize):
    summaries = [{"curve": [{"v/a": 1.0}], "best": {"v/a": mode}}]
    with pytest.raises(ValueError, match=f"a search must --{mode}imize v/a: a {mode}imum of it is best"):
        search.best_value(summaries, "v/a", maximize)
    assert search.best_value(summaries, "v/a", not maximize) == 1.0


@pytest.mark.slow
def test_a_search_finds_the_best_option_and_can_be_resumed(fits, capsys):
    pytest.importorskip("optuna")
    arguments = (NAMES[0], "--search", f"{LR}=loguniform(1e-4, 1)", "--minimize", "val/distance", "--seeds", "0", "1")
    sweep(*arguments, "--trials", "10")
    assert len(fits) == 20
    capsys.readouterr()
    sweep(*arguments, "--trials", "25", "--jobs", "2")
    assert len(fits) == 50
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("best of 25 trials"))
    value, _, folders = line.partition("=")[2].partition(", in ")
    assert abs(np.log10(float(value)) + 2) < 0.3
    assert all(Path(folder, "summary.json").is_file() for folder in folders.split(", "))
    fits.clear()
    sweep(*arguments, "--trials", "25")
    assert fits == []


@pytest.mark.slow
def test_trials_with_the_same_options_at_the_same_time_are_one_run(fits, monkeypatch):
    pytest.importorskip("optuna")
    fit, inside = jobs.fit, []

    def slow(config, seed, threads, options, output):
        assert output.parent not in inside
        inside.append(output.parent)
        time.sleep(0.05)
        inside.remove(output.parent)
        return fit(config, seed, threads, options, output)

    monkeypatch.setattr(jobs, "fit", slow)
    sweep(NAMES[0], "--search", f"{LR}=choice(0.1, 0.2)", "--minimize", "val/distance", "--trials", "8", "--jobs", "4")
    assert len(fits) == 2


def test_a_trial_that_was_interrupted_is_tried_again_with_the_same_options(tmp_path):
    pytest.importorskip("optuna")
    space = search.parse_space("lr=loguniform(1e-4, 1)")
    study = search.open_study(tmp_path / "study.log", "a", maximize=False)
    interrupted = space.suggest(study.ask())
    suggested = []

    def objective(trial):
        suggested.append(space.suggest(trial))
        return 0.0

    search.optimize(search.open_study(tmp_path / "study.log", "a", maximize=False), objective, trials=3, jobs=1)
    assert suggested[0] == interrupted
    assert len(set(suggested)) == 3


CHANGES = [("--trainer.max_steps=2",), ("--seeds", "0", "1"), ("--maximize", "val/accuracy"), ("--minimize", "val/b"),
           ("--search", "data.batch_size=choice(4,8)")]  # fmt: skip


@pytest.mark.parametrize("change", [*CHANGES, None], ids=str)
def test_a_search_with_other_runs_or_another_metric_is_another_study(change, fits, tmp_path, capsys, monkeypatch):
    pytest.importorskip("optuna")
    monkeypatch.setattr("lightning_coordconv.runtime.sweep.command.best_value", lambda *args: 0.0)
    config = tmp_path / "mine.yaml"
    config.write_text("trainer: {max_epochs: 1}\n")
    goal = () if change and change[0].startswith("--m") else ("--minimize", "val/distance")
    arguments = ("mine.yaml", "--search", f"{LR}=uniform(0.001, 1)", "--trials", "2")
    sweep(*arguments, "--minimize", "val/distance")
    fits.clear()
    if change is None:
        config.write_text("trainer: {max_epochs: 2}\n")
    sweep(*arguments, *goal, *(change or ()))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("logs/mine/seed")]
    trials = [line for line in lines if ": started" not in line]
    assert len(trials) == {None: 4, CHANGES[1]: 6}.get(change, 4)
    fits.clear()
    sweep(*arguments, *goal, *(change or ()))
    assert fits == []


def test_a_file_that_holds_no_study_is_refused(fits, tmp_path, capsys):
    pytest.importorskip("optuna")
    (tmp_path / "s.log").write_text("no study\n")
    arguments = (NAMES[0], "--search", f"{LR}=uniform(0.001, 1)", "--study", str(tmp_path / "s.log"))
    assert "is not the file of a study" in fails(capsys, *arguments, "--minimize", "val/distance")
    assert (tmp_path / "s.log").read_text() == "no study\n"


def test_a_study_that_another_process_writes_to_is_refused(fits, tmp_path, capsys):
    file = tmp_path / "s.log"
    file.touch()
    lock = Lock(file)
    assert lock.take()
    arguments = (NAMES[0], "--search", f"{LR}=uniform(0.001, 1)", "--minimize", "val/distance", "--study", str(file))
    assert f"another search is writing to {file}" in fails(capsys, *arguments)
    assert fits == []
    lock.release()


def test_a_failed_run_stops_a_search(fits, capsys):
    pytest.importorskip("optuna")
    arguments = (NAMES[0], "--search", f"{LR}=uniform(0.001, 1)", "--minimize", "val/distance", "--fail=0")
    assert "a run failed, so the search stops: logs/" in fails(capsys, *arguments)
    assert len(fits) == 1


def test_a_search_without_optuna_names_the_extra(fits, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    message = fails(capsys, NAMES[0], "--search", f"{LR}=uniform(0.001, 1)", "--minimize", "val/distance")
    assert "pip install 'lightning-coordconv[search]'" in message
