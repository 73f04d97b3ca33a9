"""Tests of the command ``sweep``: seeds, skipped, changed and resumed runs, failures, signals, refused arguments."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lightning_coordconv.runtime import signals
from lightning_coordconv.runtime.sweep import jobs
from tests.runtime.sweeps import NAMES, fails, sweep


def test_every_config_is_trained_with_every_seed_and_compared(fits, capsys):
    sweep(*NAMES, "--seeds", "0", "1", "--jobs", "2")
    assert sorted(fits) == sorted((name, seed) for name in NAMES for seed in (0, 1))
    lines = capsys.readouterr().out.splitlines()
    assert f"| {NAMES[0]} | 0, 1 | 1.5 (1 to 2) |" in lines
    assert f"| {NAMES[1]} | 2 | 0 (0 to 0) |" in lines


def test_finished_runs_are_skipped_and_others_are_not(fits, capsys):
    sweep(NAMES[0], "--seeds", "0", "1")
    fits.clear()
    sweep(NAMES[0], "--seeds", "0", "1", "2")
    assert fits == [(NAMES[0], 2)]
    assert capsys.readouterr().out.count("finished before") == 2
    fits.clear()
    sweep(NAMES[0], "--trainer.max_epochs=3")  # another option: another run
    assert fits == [(NAMES[0], 0)]


def test_a_changed_config_is_another_run(fits, tmp_path):
    (tmp_path / "mine.yaml").write_text("trainer: {max_epochs: 1}\n")
    sweep("mine.yaml")
    sweep("mine.yaml")
    assert len(fits) == 1
    (tmp_path / "mine.yaml").write_text("trainer: {max_epochs: 2}\n")
    sweep("mine.yaml")
    assert len(fits) == 2


@pytest.mark.parametrize("option", ["--{}=part.yaml", "--config=part.yaml", None])
@pytest.mark.parametrize("section", ["trainer", "data", "model"])
def test_a_change_of_any_file_that_is_read_makes_another_run(section, option, fits, tmp_path):
    """Files of options, overlays, and files that the config refers to."""
    part, config, options = tmp_path / "part.yaml", tmp_path / "mine.yaml", []
    if option is None:
        config.write_text(f"{section}: part.yaml\n")
    else:
        config.write_text("figures: false\n")
        options = [option.format(section)]
    for number in (1, 2, 1):
        part.write_text(f"init_args: {{a: {number}}}\n")
        sweep("mine.yaml", *options)
    assert len(fits) == 2


@pytest.mark.parametrize("option", [None, "--model.net=mine.Net", "--model={class_path: mine.Net}",
                                    "--data.changes=[Flip, mine.Net]", "--data.changes=[[mine.Net]]"])  # fmt: skip
def test_a_changed_module_of_the_current_folder_is_another_run(option, fits, tmp_path):
    named = "" if option else "model: {class_path: mine.Net}"
    (tmp_path / "config.yaml").write_text(f"figures: false\n{named}\n")
    for text in ("class Net: ...", "class Net: width = 2", "class Net: ..."):
        (tmp_path / "mine.py").write_text(text)
        (tmp_path / "other.py").write_text(text)
        sweep("config.yaml", *filter(None, [option]))
    assert len(fits) == 2
    (tmp_path / "other.py").write_text("class Other: ...")
    sweep("config.yaml", *filter(None, [option]))
    assert len(fits) == 2


@pytest.mark.parametrize("file", ["games.py", "games/__init__.py"])
@pytest.mark.parametrize("option", ["--data.env_id=games:Maze-v0", "--model=games.Net"])
def test_a_changed_module_of_an_environment_and_a_changed_package_are_other_runs(option, file, fits, tmp_path):
    (tmp_path / "config.yaml").write_text("figures: false\n")
    (tmp_path / "games").mkdir(exist_ok=True)
    for text in ("size = 1", "size = 2", "size = 1"):
        (tmp_path / file).write_text(text)
        sweep("config.yaml", option)
    assert len(fits) == 2


def test_a_config_that_changes_while_a_run_trains_leaves_it_its_folder(fits, tmp_path, monkeypatch, capsys):
    config, fit = tmp_path / "mine.yaml", jobs.fit
    config.write_text("trainer: {max_epochs: 1}\n")

    def edited(*arguments):
        config.write_text("trainer: {max_epochs: 2}\n")
        return fit(*arguments)

    monkeypatch.setattr(jobs, "fit", edited)
    sweep("mine.yaml")
    assert len(fits) == 1
    started, done, *_ = capsys.readouterr().out.splitlines()
    assert started.endswith(": started, its output is in output.log there")
    assert done == started.partition(": ")[0] + ": done"


def test_an_option_with_spaces_is_passed_on_in_its_place(fits, tmp_path):
    options = ("--figures=false", "--model.net={a: 1, b: 2}", "--trainer.max_steps=1")
    sweep(*options, NAMES[0], "--logs=my logs")
    assert fits == [(NAMES[0], 0)]
    (run,) = (tmp_path / "my logs" / NAMES[0]).iterdir()
    assert run == tmp_path / jobs.Job(NAMES[0], 0, options, Path("my logs")).folder


def test_the_order_of_options_counts(fits):
    sweep(NAMES[0], "--trainer.max_steps=1", "--trainer.max_steps=2")
    sweep(NAMES[0], "--trainer.max_steps=2", "--trainer.max_steps=1")
    assert len(fits) == 2


def test_a_run_that_is_no_trial_may_say_so(fits):
    sweep(NAMES[0], "--trainer.fast_dev_run=false")
    assert fits == [(NAMES[0], 0)]


def test_runs_without_a_test_finish_and_are_compared_by_validation(fits, capsys):
    for expected in (1, 0):
        fits.clear()
        sweep(NAMES[0], "--trainer.limit_test_batches=0")
        assert len(fits) == expected
        assert "val/distance" in capsys.readouterr().out


def test_a_run_without_its_test_is_resumed(fits):
    sweep(NAMES[0])
    job = jobs.Job(NAMES[0], 0)
    summary = json.loads((job.folder / "summary.json").read_text())
    del summary["test"]
    for unfinished in (json.dumps(summary), "{"):
        (job.folder / "summary.json").write_text(unfinished)
        fits.clear()
        sweep(NAMES[0])
        assert fits == [(NAMES[0], 0)]


def test_a_failed_run_does_not_stop_the_others(fits, capsys):
    assert fails(capsys, NAMES[0], "--seeds", "0", "1", "2", "--fail=1") == "error: 1 of 3 runs did not finish"
    output = capsys.readouterr().out
    assert "exit code 3, it ends here (logs/" in output
    assert "| 0, 2 | 2 (1 to 3) |" in output


@pytest.mark.slow
def test_a_signal_ends_all_processes_and_starts_no_more(tmp_path):
    """The sweep gets SIGTERM while two of its six processes run."""
    code = """
import sys, pathlib
from lightning_coordconv.runtime.signals import stop_signals
from lightning_coordconv.runtime.sweep.processes import processes
stop_signals.install()
sleeper = "import sys, time, pathlib; pathlib.Path(sys.argv[1]).touch(); time.sleep(60)"
processes.map(lambda i: processes.call([sys.executable, "-c", sleeper, f"started{i}"]), range(6), 2)
"""
    root = jobs.shipped_configs.PACKAGE.parent
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(root)}
    ) as sweep:
        begin = time.monotonic()
        while len(list(tmp_path.iterdir())) < 2:
            assert time.monotonic() < begin + 120
            time.sleep(0.1)
        sweep.send_signal(signal.SIGTERM)
        assert sweep.wait(30) == signals.REQUEUE
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.slow
def test_a_real_process_has_one_thread_and_leaves_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(jobs.shipped_configs.PACKAGE.parent),
                                                                   os.environ.get("PYTHONPATH")])))  # fmt: skip
    options = ("--trainer.max_steps=2", "--trainer.limit_val_batches=1", "--trainer.limit_test_batches=1",
               "--trainer.check_val_every_n_epoch=null", "--trainer.val_check_interval=1",
               "--figures=false")  # fmt: skip
    job = jobs.Job(NAMES[1], 5, options)
    assert job.run(1) == 0, (job.folder / "output.log").read_text()
    summary = job.summary()
    assert (summary["seed"], summary["threads"], summary["steps"]) == (5, 1, 2)
    assert (job.folder / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["none"], "there is no config 'none'"),
        ([NAMES[0], "--jobs", "0"], "--jobs must be at least 1, got 0"),
        ([NAMES[0], "--seeds", "0", "-1"], "--seeds must be from 0 to 4294967295, got 0 -1"),
        ([NAMES[0], "--seeds", str(2**32)], "--seeds must be from 0 to 4294967295, got 4294967296"),
        ([NAMES[0], "--seeds", "1", "1"], "--seeds must be different, got 1 1"),
        ([NAMES[0], "--seed_everything=1"], "for each run, by --seeds and --logs: leave out --seed_everything=1"),
        ([NAMES[0], "--ckpt_path=last"], "leave out --ckpt_path=last"),
        ([NAMES[0], "--trainer.logger.version=a"], "leave out --trainer.logger.version=a"),
        ([NAMES[0], "--trainer.logger.init_args.name=a"], "leave out --trainer.logger.init_args.name=a"),
        ([NAMES[0], NAMES[0]], "the configs of a sweep must be different"),
        ([NAMES[0], "--trainer.logger=false"], f"give {NAMES[0]} one logger, as a class"),
        ([NAMES[0], "--trainer.logger=[CSVLogger,TensorBoardLogger]"], f"give {NAMES[0]} one logger, as a class"),
        ([NAMES[0], "--print_config"], "a sweep trains, and prints no config: give --print_config to fit"),
        ([NAMES[0], "--print_config=skip_null"], "a sweep trains, and prints no config"),
        ([NAMES[0], "--trainer.fast_dev_run=true"], "trainer.fast_dev_run leaves none: leave it out"),
        ([NAMES[0], "--trainer={fast_dev_run: 3}"], "trainer.fast_dev_run leaves none: leave it out"),
        ([NAMES[0], "--seed", "0"], "arguments for fit are written --name=value, got --seed 0"),
        ([NAMES[0], "--minimize", "val/distance"], "belong to a --search"),
        ([NAMES[0], "--search", "a=uniform(0,1)"], "needs --minimize METRIC or --maximize METRIC"),
        ([NAMES[0], "--search", "a=uniform(0,1)", "--minimize", "step"], "such as val/loss, got 'step'"),
        ([*NAMES, "--search", "a=uniform(0,1)", "--minimize", "val/distance"], "takes one config"),
        ([NAMES[0], "--search", "seed_everything=int(0,5)"], "leave out seed_everything=int(0,5)"),
        ([NAMES[0], "--search", "trainer.logger.init_args.version=choice(a,b)"], "leave out trainer.logger.init_args"),
        (
            [NAMES[0], "--search", "a.b=int(0,5)", "a.init_args.b=int(5,9)"],
            "looks for a.b, which is given a second time",
        ),
        (
            [NAMES[0], "--a.b=3", "--search", "a.init_args.b=int(0,5)"],
            "looks for a.init_args.b, which is given a second",
        ),
    ],
)
def test_arguments_that_cannot_work(fits, args, message, capsys):
    assert message in fails(capsys, *args)
    assert fits == []
