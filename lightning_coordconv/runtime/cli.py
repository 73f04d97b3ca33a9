"""Entry point of ``lightning-coordconv``: lists the commands, runs the module of one, and reports errors in one line.

Nothing heavy is imported before a command is known, so that the list of commands appears at once.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import NamedTuple

from lightning_coordconv import __version__
from lightning_coordconv.runtime.errors import OneLineParser, from_user_code, one_line
from lightning_coordconv.runtime.shipped_configs import with_paths
from lightning_coordconv.runtime.signals import stop_signals

DEBUG = "--debug"
LIGHTNING = "lightning_coordconv.runtime.lightning_cli"


INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells expect it: 128 and the number of SIGINT."""
EXPLAINED = (ValueError, OSError, ImportError)
"""Errors of a command that one line explains. Any other is a fault of the program, and keeps its traceback."""


class Command(NamedTuple):
    """A command: the module that runs it, and what it does."""

    module: str
    summary: str


COMMANDS = {
    "fit": Command(LIGHTNING, "train a network, then test its best weights"),
    "validate": Command(LIGHTNING, "measure the weights of a checkpoint on the validation data"),
    "test": Command(LIGHTNING, "measure the weights of a checkpoint on the test data"),
    "predict": Command(LIGHTNING, "write what the weights of a checkpoint predict"),
    "configs": Command("lightning_coordconv.runtime.configs", "list the configs of the package, or copy one"),
    "data": Command("lightning_coordconv.runtime.data", "look at data before training on them: data check PATH"),
    "advise": Command("lightning_coordconv.position.command", "say whether position matters for a model and its data"),
    "sweep": Command("lightning_coordconv.runtime.sweep.command", "train configs with several seeds, or search"),
    "compare": Command("lightning_coordconv.runtime.comparison.command", "compare runs: table, differences and curves"),
    "export": Command("lightning_coordconv.runtime.export", "write a checkpoint's network for other programs"),
}
EPILOG = f"""\
lightning-coordconv COMMAND --help explains a command. A first example:

  lightning-coordconv fit -c coordinates/classification_quadrant_coordconv

{DEBUG} in any command shows an error's full message and traceback.
"""


def main(args: Sequence[str] | None = None) -> None:
    """Run a command.

    Args:
        args: The arguments; those of the process by default.
    """
    words = list(sys.argv[1:] if args is None else args)
    OneLineParser.debug = DEBUG in words
    words = [word for word in words if word != DEBUG]
    stop_signals.install()
    try:
        _run(words)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output, such as `head`, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt as error:
        if OneLineParser.debug:
            raise
        print("interrupted", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from error
    except EXPLAINED as error:
        if OneLineParser.debug or from_user_code(error):
            raise
        print(f"error: {one_line(str(error).strip())}", file=sys.stderr)
        raise SystemExit(2) from error
    except RuntimeError as error:
        if OneLineParser.debug or not str(error).startswith("operator torchvision::"):  # torchvision's own check
            raise
        found = f"torchvision {version('torchvision')} was not built for torch {version('torch')}"
        print(f"error: {found} ({error}): install matching versions of both from one index", file=sys.stderr)
        raise SystemExit(2) from error
    finally:
        stop_signals.uninstall()


def _run(words: list[str]) -> None:
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.insert(0, os.getcwd())  # as `python -m` does, so that a config can name the user's modules
    if len(words) > 1 and words[0].startswith("-"):  # Lightning's commands take options before their name too
        module = LIGHTNING
    else:
        module = COMMANDS[_parser().parse_args(words[:1] or ["--help"]).command].module
    importlib.import_module(module).main(words if module == LIGHTNING else with_paths(words[1:]))


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        "lightning-coordconv",
        usage="lightning-coordconv COMMAND ...",
        description="Train and use convolutions that know where they are.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.summary, add_help=False)
    return parser
