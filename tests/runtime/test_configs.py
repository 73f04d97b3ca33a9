"""Configs by name: on the command line, in a list, as copies, and as names of folders of logs."""

import os
import subprocess
import sys

import pytest
import yaml

from lightning_coordconv.runtime import configs
from lightning_coordconv.runtime.cli import main

SMALL = ("--data.batch_size=2", "--data.count=4", "--data.eval_count=2", "--trainer.max_steps=2", "--figures=false",
         "--model.generator.init_args.width=2", "--model.discriminator.init_args.width=2",
         "--trainer.limit_val_batches=0", "--trainer.limit_test_batches=0",
         "--trainer.enable_progress_bar=false")  # fmt: skip


def test_list_has_every_config_with_its_first_line(capsys):
    main(["configs", "list"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == configs.names()
    assert all(len(line.split()) > 2 for line in lines)
    (line,) = (line for line in lines if line.startswith("detection/coco_conv "))
    assert line.endswith("no coordinates, the baseline.")


@pytest.mark.parametrize(
    ("dest", "file"), [((), "coco_conv.yaml"), (("mine",), "mine/coco_conv.yaml"), (("a/b.yaml",), "a/b.yaml")]
)
def test_copy(dest, file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    main(["configs", "copy", "detection/coco_conv", *dest])
    assert capsys.readouterr().out == f"{file}\n"
    assert (tmp_path / file).read_text() == (configs.CONFIGS / "detection" / "coco_conv.yaml").read_text()
    (tmp_path / file).write_text("changed")
    with pytest.raises(SystemExit):
        main(["configs", "copy", "detection/coco_conv", *dest])
    assert capsys.readouterr().err.endswith(f"{file} exists: remove it, or give another destination\n")
    assert (tmp_path / file).read_text() == "changed"


def test_copy_of_an_experiment_has_all_its_configs(tmp_path, capsys):
    main(["configs", "copy", "detection/proposals_conv_same", str(tmp_path)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["proposals_conv.yaml", "same.yaml"]


NAMES = ["generative/small_conv", "generative/small_conv.yaml", "configs/generative/small_conv.yaml"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("before", [["-c"], ["--config"]])
def test_names_become_paths(name, before, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = str(configs.CONFIGS / "generative" / "small_conv.yaml")
    assert configs.with_paths(["fit", *before, name, "--x", "1"]) == ["fit", "--config", path, "--x", "1"]
    assert configs.with_paths(["fit", f"{before[0]}={name}"]) == ["fit", "--config", path]


def test_an_experiment_becomes_its_configs():
    folder = configs.CONFIGS / "generative"
    paths = [str(folder / name) for name in ("small_conv.yaml", "ablations/coordinates_in_d.yaml")]
    args = configs.with_paths(["fit", "-c", "generative/small_conv_coordinates_in_d"])
    assert args == ["fit", "--config", paths[0], "--config", paths[1]]


def test_files_come_before_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "generative").mkdir()
    (tmp_path / "generative" / "small_conv.yaml").write_text("model: mine")
    assert configs.with_paths(["-c", "generative/small_conv.yaml"])[1] == "generative/small_conv.yaml"
    assert configs.with_paths(["-c", "generative/small_conv"])[1] == str(configs.CONFIGS / "generative/small_conv.yaml")


@pytest.mark.parametrize(
    ("typed", "advice"),
    [
        ("detection/coco_cordconv", "did you mean detection/coco_coordconv"),
        ("configs/detection/coco_coordconf.yaml", "did you mean detection/coco_coordconv"),
        ("small_coordconv", "did you mean generative/small_coordconv"),
        ("???", "`lightning-coordconv configs list` lists them all"),
    ],
)
@pytest.mark.parametrize("command", [["fit", "-c"], ["configs", "copy"]])
def test_an_unknown_name_gets_one_line_with_the_nearest(command, typed, advice, cli, capsys):
    with pytest.raises(SystemExit) as error:
        cli(*command, typed)
    assert error.value.code == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert repr(typed) in message
    assert advice in message


def test_a_config_option_without_a_value_is_an_error(cli, capsys):
    with pytest.raises(SystemExit):
        cli("fit", "-c")
    assert "expected one argument" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "folder"),
    [
        (["generative/small_conv"], "generative/small_conv"),
        (["generative/small_conv", "generative/ablations/coordinates_in_d"], "generative/small_conv_coordinates_in_d"),
        (["generative/small_conv_coordinates_in_d"], "generative/small_conv_coordinates_in_d"),
    ],
)
def test_logs_are_named_after_the_configs(names, folder, cli):
    args = [word for name in names for word in ("-c", name)]
    root = cli("fit", *args, *SMALL)
    (saved,) = (root / "logs" / folder).glob("version_0/config.yaml")
    assert yaml.safe_load(saved.read_text())["trainer"]["logger"]["init_args"]["name"] == folder


def test_presets_do_not_change_the_name():
    paths = [configs.CONFIGS / "rl" / "a2c_pong_conv.yaml", configs.CONFIGS / "presets" / "agents_on_two_cores.yaml"]
    assert configs.experiment(paths) == "rl/a2c_pong_conv"


class Logger(dict):
    """As jsonargparse keeps the arguments of a class."""

    __getattr__ = dict.get


@pytest.mark.parametrize(
    ("given", "named"),
    [("lightning_logs", "mine"), (None, "mine"), ("chosen", "chosen")],
)
def test_a_name_that_the_user_chose_stays(given, named):
    logger = Logger(class_path="CSVLogger", init_args={"save_dir": "logs", "name": given})
    nameless = Logger(class_path="MLFlowLogger", init_args={"run_name": None})
    for loggers in (logger, [logger, nameless]):
        configs.name_loggers({"config": ["/a/mine.yaml"], "trainer": {"logger": loggers}})
    assert logger.init_args["name"] == named
    assert nameless.init_args == {"run_name": None}
    for loggers in (None, True, False):
        configs.name_loggers({"config": ["/a/mine.yaml"], "trainer": {"logger": loggers}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: [", r"line \d: this is no YAML file: "),
        ("data:\n\t- 1", "line 2: this is no YAML file: "),
        ("", "is no config: it must be a mapping"),
        ("- 1", "is no config: it must be a mapping"),
        ("trainer: {}\ntrainer: {}", "line 2: the key trainer occurs twice"),
        ("trainer:\n  callbacks:\n  - a: 1\n    a: 2", r"line 4: the key trainer.callbacks.0.a occurs twice"),
        ("trainer: {max_steps: 6}\ntrainer.max_steps: 3", r"line \d: the key trainer.max_steps occurs twice"),
        ("trainer.max_steps: 3\ntrainer: {max_steps: 6}", r"line \d: the key trainer.max_steps occurs twice"),
        ("data:\n  init_args:\n    seed: 1", "line 3: the data get the seed of the run"),
        ("data: {seed: 1}", "line 1: the data get the seed of the run"),
    ],
)
def test_what_the_parser_would_pass_over_is_refused_with_its_line(text, message, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"config.yaml.*{message}"):
        configs.with_paths(["fit", "-c", str(path)])


def test_aliases_are_checked_once(tmp_path):
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    path = tmp_path / "config.yaml"
    path.write_text("\n".join(lines))
    configs.check(path)


def test_every_config_passes():
    for name in configs.names():
        configs.check(configs.CONFIGS / f"{name}.yaml")


@pytest.mark.parametrize("option", ["--data.seed", "--data.init_args.seed"])
def test_an_option_without_effect_is_refused(option):
    for words in ([option, "3"], [f"{option}=3"]):
        with pytest.raises(ValueError, match=r"data get the seed of the run.*give seed_everything"):
            configs.with_paths(["fit", *words])


def test_an_experiment_of_two_files_is_copied_whole_or_not_at_all(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, paths = next((name, paths) for name, paths in configs.experiments().items() if len(paths) == 2)
    with pytest.raises(ValueError, match=r"is 2 files: give a folder that is there, got mine.yaml"):
        configs.main(["copy", name, "mine.yaml"])
    (tmp_path / paths[1].name).touch()
    with pytest.raises(ValueError, match=f"{paths[1].name} exists"):
        configs.main(["copy", name])
    assert [path.name for path in tmp_path.iterdir()] == [paths[1].name]
    (tmp_path / paths[1].name).unlink()
    configs.main(["copy", name])
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in paths}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data.init_args={seed: 7}"], "--data.init_args: the data get the seed of the run"),
        (["--data", '{"class_path": "D", "init_args": {"seed": 7}}'], "--data.init_args: the data get the seed"),
        (["--trainer={max_steps: 3, max_steps: 4}"], "--trainer: the key trainer.max_steps occurs twice"),
        (["--data=data.yaml"], "data.yaml, line 1: the data get the seed of the run"),
        (["--model=twice.yaml"], "twice.yaml, line 2: the key model.a occurs twice"),
        (["-c", "mine.yaml"], "data.yaml, line 1: the data get the seed of the run"),
    ],
)
def test_what_the_parser_would_pass_over_is_refused_in_options_and_named_files(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.yaml").write_text("init_args: {seed: 7}\n")
    (tmp_path / "twice.yaml").write_text("a: 1\na: 2\n")
    (tmp_path / "mine.yaml").write_text("data: data.yaml\n")
    with pytest.raises(ValueError, match=message):
        configs.with_paths(["fit", *words])


@pytest.mark.parametrize("words", [["--data.data=list.yaml"], ["--data={"], ["--data"], ["-c"], ["--data", "-c"]])
def test_what_the_parser_reports_is_left_to_it(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.yaml").write_text("- 1\n- 2\n")
    assert configs.with_paths(["fit", *words]) == ["fit", *words]


@pytest.mark.slow
def test_a_reader_that_has_enough_ends_a_list_without_a_traceback():
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "lightning_coordconv", "configs", "list"]
    ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, "")
