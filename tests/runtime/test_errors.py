"""What the user typed is answered in one line; what the user programmed keeps its traceback."""

import sys

import pytest

from lightning_coordconv.coordinates import CoordinateClassification
from tests.runtime.test_weights import SMALL

USER_MODULE = """
import torch

class Broken(torch.nn.Module):
    def __init__(self):
        raise ValueError("my own bug")
"""


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--data.canvass=32"], "data.canvass: Option 'canvass' is not accepted"),
        (["--data.canvas=x"], "data.canvas: expected int. Got value: x"),
        (["--model.net.init_args.colour=1"], "model.net.colour: Option 'colour' is not accepted"),
        (["--model.net=Foo"], "model.net: Expected a dot import path string: Foo"),
        (["--model.optimizer.init_args.lr=abc"], "model.optimizer.lr: expected float, got 'abc'"),
        (["--trainer.max_steps=abc"], "trainer.max_steps: expected int. Got value: abc"),
        (["--trainer.nope=1"], "unrecognized arguments: --trainer.nope=1"),
    ],
)
def test_an_error_is_one_line_that_names_option_and_value(cli, tmp_path, capsys, arguments, line):
    with pytest.raises(SystemExit) as exit_info:
        cli("fit", *SMALL, *arguments)
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == f"error: {line}\n"
    assert not list(tmp_path.iterdir())


def test_debug_shows_everything(cli, capsys):
    with pytest.raises(Exception, match="canvass") as error:
        cli("fit", *SMALL, "--data.canvass=32", "--debug")
    assert not isinstance(error.value, SystemExit)


class Failing(CoordinateClassification):
    """Somebody's own task, with a bug."""

    def training_step(self, batch, batch_idx):
        raise ValueError("a bug of the user's")


def test_a_bug_in_a_users_class_keeps_its_traceback(cli):
    with pytest.raises(ValueError, match="a bug of the user's"):
        cli("fit", *SMALL, f"--model={__name__}.Failing")


def test_modules_of_the_current_folder_can_be_named(cli, tmp_path, monkeypatch):
    """As with ``python -m``; and an error in their constructors keeps its traceback."""
    (tmp_path / "mynets.py").write_text(USER_MODULE)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(tmp_path))])
    with pytest.raises(ValueError, match="my own bug"):
        cli("fit", *SMALL, "--model.net=mynets.Broken")
    sys.modules.pop("mynets", None)
