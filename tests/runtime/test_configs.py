"""Tests of shipped configs by name: the commands ``configs list`` and ``copy``, lookup, and names of log folders."""

import os
import subprocess
import sys

import pytest
import yaml

from lightning_coordconv.runtime import shipped_configs
from lightning_coordconv.runtime.cli import main
from tests.full_disk import full_disk

SMALL = ("--data.batch_size=2", "--data.count=4", "--data.eval_count=2", "--trainer.max_steps=2", "--figures=false",
         "--model.generator.init_args.width=2", "--model.discriminator.init_args.width=2",
         "--trainer.limit_val_batches=0", "--trainer.limit_test_batches=0",
         "--trainer.enable_progress_bar=false")  # fmt: skip


def test_list_has_every_config_with_its_first_sentence(capsys):
    main(["configs", "list"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == shipped_configs.names()
    assert all(len(line.split()) > 2 and line.endswith((".", ")", "FILE")) for line in lines)
    (line,) = (line for line in lines if line.startswith("detection/coco_conv "))
    assert line.endswith("no coordinates, the baseline.")


@pytest.mark.parametrize(
    ("dest", "file"),
    [
        ((), "coco_conv.yaml"),
        (("mine",), "mine/coco_conv.yaml"),
        (("new/",), "new/coco_conv.yaml"),
        (("a/b.yaml",), "a/b.yaml"),
    ],
)
def test_copy(dest, file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    main(["configs", "copy", "detection/coco_conv", *dest])
    assert capsys.readouterr().out == f"{file}\n"
    assert (tmp_path / file).read_text() == (shipped_configs.CONFIGS / "detection" / "coco_conv.yaml").read_text()
    (tmp_path / file).write_text("changed")
    with pytest.raises(SystemExit):
        main(["configs", "copy", "detection/coco_conv", *dest])
    assert capsys.readouterr().err.endswith(f"{file} exists: remove it, or give another destination\n")
    assert (tmp_path / file).read_text() == "changed"


def test_a_copy_that_cannot_be_written_leaves_no_file(tmp_path, capsys):
    with full_disk(10), pytest.raises(SystemExit):
        main(["configs", "copy", "detection/coco_conv", str(tmp_path)])
    assert "error: [Errno 27] File too large" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_copy_of_an_experiment_has_all_its_configs(tmp_path, capsys):
    main(["configs", "copy", "detection/proposals_conv_same", str(tmp_path)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["proposals_conv.yaml", "same.yaml"]


def test_a_copy_of_several_configs_is_made_whole_or_not_at_all(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    experiment = "detection/proposals_conv_same"
    with pytest.raises(SystemExit):
        main(["configs", "copy", experiment, "mine.yaml"])
    assert "consists of proposals_conv.yaml, same.yaml: give a folder" in capsys.readouterr().err
    (tmp_path / "same.yaml").touch()
    with pytest.raises(SystemExit):
        main(["configs", "copy", experiment])
    assert [path.name for path in tmp_path.iterdir()] == ["same.yaml"]


NAMES = ["generative/small_conv", "generative/small_conv.yaml", "configs/generative/small_conv.yaml"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("before", [["-c"], ["--config"]])
def test_names_become_paths(name, before, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = str(shipped_configs.CONFIGS / "generative" / "small_conv.yaml")
    assert shipped_configs.with_paths(["fit", *before, name, "--x", "1"]) == ["fit", f"--config={path}", "--x", "1"]
    assert shipped_configs.with_paths(["fit", f"{before[0]}={name}"]) == ["fit", f"--config={path}"]


def test_an_experiment_becomes_its_configs():
    folder = shipped_configs.CONFIGS / "generative"
    paths = [str(folder / name) for name in ("small_conv.yaml", "ablations/coordinates_in_d.yaml")]
    args = shipped_configs.with_paths(["fit", "-c", "generative/small_conv_coordinates_in_d"])
    assert args == ["fit", *(f"--config={path}" for path in paths)]


def test_files_come_before_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "generative").mkdir()
    (tmp_path / "generative" / "small_conv.yaml").write_text("model: mine")
    assert shipped_configs.with_paths(["-c", "generative/small_conv.yaml"]) == ["--config=generative/small_conv.yaml"]
    packaged = shipped_configs.CONFIGS / "generative" / "small_conv.yaml"
    assert shipped_configs.with_paths(["-c", "generative/small_conv"]) == [f"--config={packaged}"]


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "folder"),
    [
        pytest.param(["generative/small_conv"], "generative/small_conv", marks=pytest.mark.slow),
        (["generative/small_conv", "generative/ablations/coordinates_in_d"], "generative/small_conv_coordinates_in_d"),
        pytest.param(
            ["generative/small_conv_coordinates_in_d"],
            "generative/small_conv_coordinates_in_d",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_logs_are_named_after_the_configs(names, folder, cli):
    args = [word for name in names for word in ("-c", name)]
    root = cli("fit", *args, *SMALL)
    (saved,) = (root / "logs" / folder).glob("version_0/config.yaml")
    assert yaml.safe_load(saved.read_text())["trainer"]["logger"]["init_args"]["name"] == folder


def test_presets_do_not_change_the_name():
    paths = [
        shipped_configs.CONFIGS / "rl" / "a2c_pong_conv.yaml",
        shipped_configs.CONFIGS / "presets" / "agents_on_two_cores.yaml",
    ]
    assert shipped_configs.experiment(paths) == "rl/a2c_pong_conv"


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
        shipped_configs.name_loggers({"config": ["/a/mine.yaml"], "trainer": {"logger": loggers}})
    assert logger.init_args["name"] == named
    assert nameless.init_args == {"run_name": None}
    for loggers in (None, True, False):
        shipped_configs.name_loggers({"config": ["/a/mine.yaml"], "trainer": {"logger": loggers}})


@pytest.mark.slow
def test_a_reader_that_has_enough_ends_a_list_without_a_traceback():
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "lightning_coordconv", "configs", "list"]
    ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, "")
