"""Tests that ``null`` on the command line becomes ``None`` at every depth of the options; other values stay."""

import pytest
from jsonargparse import ArgumentParser

from lightning_coordconv.runtime.lightning_cli import CoordConvParser
from tests.slow import slow_except


class Named:
    """Takes what a class within a class could take."""

    def __init__(self, name: str | None = "x", path: str | int | None = "y", options: dict[str, str] | None = None):
        self.name = name


class Outer:
    """Holds one."""

    def __init__(self, inner: Named):
        self.inner = inner


def parse(*words: str):
    parser, command = CoordConvParser(), ArgumentParser()
    command.add_argument("--model", type=Outer)
    command.add_argument("--flat", type=str | None, default="flat")
    parser.add_subcommands().add_subcommand("fit", command)
    start = ("fit", "--model", f"{__name__}.Outer", "--model.inner", f"{__name__}.Named", "--model.inner.name=None")
    return parser.parse_args([*start, *words]).fit


@pytest.mark.slow
@pytest.mark.parametrize("null", slow_except(["null"], ["null", "~", "NULL"]))
@pytest.mark.parametrize("option", ["model.inner.{}", "model.inner.init_args.{}", "model.init_args.inner.init_args.{}"])
def test_null_of_a_class_within_a_class(option, null):
    for name in ("name", "path"):
        for words in ((f"--{option.format(name)}={null}",), (f"--{option.format(name)}", null)):
            assert getattr(parse(*words).model.init_args.inner.init_args, name) is None


def test_other_values_stay():
    found = parse("--flat=null", "--model.inner.path=None", "--model.inner.options.a=b").model.init_args.inner.init_args
    assert found.name == "None"  # what was typed
    assert found.path == "None"
    assert parse("--flat=null").flat is None
