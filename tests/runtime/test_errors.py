"""Tests that errors of a run are one line, and that errors in the user's code keep their traceback."""

import errno
import functools
import os
import re
import sys
import threading
from pathlib import Path
from unittest.mock import Mock
from urllib.error import URLError

import pytest
import torch
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lightning_coordconv.coordinates import CoordinateClassification
from lightning_coordconv.generative.unlabelled_images import UnlabelledImages
from lightning_coordconv.runtime.errors import explain, from_user_code, one_line
from tests.runtime.runs import SMALL

USER_MODULE = """
import torch

class Broken(torch.nn.Module):
    def __init__(self):
        raise ValueError("my own bug")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--data.canvass=32"], "data.canvass: Option 'canvass' is not accepted"),
        pytest.param(["--data.canvas=x"], "data.canvas: expected int. Got value: x", marks=pytest.mark.slow),
        pytest.param(
            ["--model.net.init_args.colour=1"],
            "model.net.colour: Option 'colour' is not accepted",
            marks=pytest.mark.slow,
        ),
        (["--model.net=Foo"], "model.net: Expected a dot import path string: Foo"),
        (["--model=torch.nn.GRU"], "model: expected a subclass of lightning_coordconv.core.BaseTask, got torch.nn.GRU"),
        (
            ["--data={class_path: torch.nn.GRU}"],
            "data: expected a subclass of lightning_coordconv.core.BaseDataModule, got torch.nn.GRU",
        ),
        (["--model.optimizer.init_args.lr=abc"], "model.optimizer.lr: expected float, got 'abc'"),
        pytest.param(
            ["--trainer.max_steps=abc"], "trainer.max_steps: expected int. Got value: abc", marks=pytest.mark.slow
        ),
        (["--trainer.nope=1"], "unrecognized arguments: --trainer.nope=1"),
    ],
)
def test_an_error_is_one_line_that_names_option_and_value(cli, tmp_path, capsys, arguments, line):
    with pytest.raises(SystemExit) as exit_info:
        cli("fit", *SMALL, *arguments)
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == f"error: {line}\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "classes"),
    [
        ("detection/coco_coordconv", "--model.net.init_args.num_classes=3"),
        pytest.param("segmentation/masks_coordconv", None, marks=pytest.mark.slow),
    ],
)
def test_weights_that_cannot_be_downloaded(cli, tmp_path, monkeypatch, capsys, config, classes):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr("torch.hub.urlopen", Mock(side_effect=URLError("no network")))
    with pytest.raises(SystemExit):
        cli("fit", "-c", config, "--data.root", str(tmp_path), *([classes] if classes else []))
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: a download failed: no network; without a connection, put the file where")
    for way_out in ("a detector with the overlay -c detection/ablations/from_scratch", "weights_backbone null"):
        assert way_out in line


@pytest.mark.slow
def test_a_choice_is_named_though_numbers_are_allowed_too(cli, capsys):
    with pytest.raises(SystemExit):
        cli("fit", *SMALL, "--trainer.precision=half")
    assert re.fullmatch(
        r"error: trainer\.precision: expected one of .*'bf16-mixed', .*'32', .*, got 'half'\n", capsys.readouterr().err
    )


@pytest.mark.slow
def test_debug_shows_everything(cli, capsys):
    with pytest.raises(Exception, match="canvass") as error:
        cli("fit", *SMALL, "--data.canvass=32", "--debug")
    assert not isinstance(error.value, SystemExit)


def test_debug_shows_everything_in_commands_without_lightning(cli, tmp_path):
    (tmp_path / "broken.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(SystemExit) as ended:
        cli("export", "broken.ckpt", "network.onnx")
    assert ended.value.code == 2
    with pytest.raises(Exception, match=r"broken\.ckpt") as error:
        cli("export", "broken.ckpt", "network.onnx", "--debug")
    assert not isinstance(error.value, SystemExit)


class Failing(CoordinateClassification):
    """Somebody's own task, with a bug."""

    def training_step(self, batch, batch_idx):
        raise ValueError("a bug of the user's")


@pytest.mark.slow
def test_a_bug_in_a_users_class_keeps_its_traceback(cli):
    with pytest.raises(ValueError, match="a bug of the user's"):
        cli("fit", *SMALL, f"--model={__name__}.Failing")


@pytest.mark.slow
def test_modules_of_the_current_folder_can_be_named(cli, tmp_path, monkeypatch):
    """As with ``python -m``; and an error in their constructors keeps its traceback."""
    (tmp_path / "mynets.py").write_text(USER_MODULE)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(tmp_path))])
    with pytest.raises(ValueError, match="my own bug"):
        cli("fit", *SMALL, "--model.net=mynets.Broken")
    sys.modules.pop("mynets", None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_events_that_cannot_be_written_end_the_run_with_their_folder(cli, monkeypatch):
    """A closed file stands in for a full disk: TensorBoard's thread fails, and nobody asks it."""
    monkeypatch.setattr(RecordWriter, "write", functools.partial(os.write, 9999))
    before = set(threading.enumerate())
    with pytest.raises(SystemExit, match=r"error: .*Bad file descriptor, while the run wrote to logs/.*/run"):
        cli("fit", *SMALL, "--trainer.max_steps=2", "--trainer.logger.init_args.version=run")
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=5)  # one that fails later would be blamed on the next test


@pytest.mark.parametrize(
    ("file", "blamed"),
    [("torch/utils/data/dataloader.py", "loading processes"), ("stable_baselines3/common/vec_env/subproc_vec_env.py",
      "the process of an environment ended"), ("anything.py", "")],
)  # fmt: skip
def test_a_lost_connection_is_blamed_on_the_process_that_it_led_to(file, blamed):
    try:
        exec(compile("raise EOFError", f"/somewhere/{file}", "exec"))
    except EOFError as error:
        explained = explain(error, None)
    assert blamed in explained
    assert blamed or explained == "EOFError"


class Unreadable(Dataset):
    """Somebody's own data set, with a bug."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise OSError("a bug of the user's\nin two lines")


def test_a_batch_of_one_that_a_batch_norm_cannot_use_is_named_by_its_option():
    with pytest.raises(ValueError, match="more than 1 value") as caught:
        nn.BatchNorm1d(2)(torch.zeros(1, 2))
    assert "choose a data.batch_size that leaves no batch of one" in explain(caught.value, None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "message", "is_user"),
    [
        (
            UnlabelledImages([Path("none.jpg")], lambda image: image),
            "none.jpg cannot be read as an image",
            False,
        ),
        (Unreadable(), "a bug of the user's", True),
    ],
)
def test_an_error_in_a_loading_process_is_explained_as_in_the_run(dataset, message, is_user):
    with pytest.raises(OSError, match="Caught") as caught:
        next(iter(DataLoader(dataset, num_workers=1)))
    assert explain(caught.value, None).startswith(message)
    assert one_line(str(caught.value)).startswith(message)
    assert from_user_code(OSError(str(caught.value))) is is_user  # without the frames of this test


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trainer.limit_val_batches", "0.0001"], "limit_val_batches"),
        (["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=val/none"], "val/none"),
        (["--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.monitor=val/none"], "val/none"),
    ],
)
def test_what_lightning_refuses_during_a_run_is_one_line(cli, options, message):
    run = ("fit", "-c", "classification/digits_coordconv", "--trainer.max_epochs", "1", "--data.copies", "1")
    few = ("--trainer.limit_train_batches", "1", "--trainer.accelerator", "cpu", "--figures", "false")
    with pytest.raises(SystemExit, match=f"^error: .*{message}"):
        cli(*run, *few, *options)


@pytest.mark.parametrize("place", ["run", "run/version_0"])
def test_a_folder_that_cannot_be_made_is_one_of_an_option(tmp_path, place):
    error = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / place))
    reason = explain(error, str(tmp_path / "run" / "version_0"))
    assert reason.endswith(f"{place}': the folder of the run cannot be made; choose another trainer.logger.save_dir")
    assert "logger" not in explain(error, str(tmp_path / "other"))
