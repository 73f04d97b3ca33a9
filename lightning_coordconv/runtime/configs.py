"""The command ``lightning-coordconv configs``: lists the configs that the package ships, and copies one."""

import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path

from lightning_coordconv.runtime.errors import OneLineParser
from lightning_coordconv.runtime.shipped_configs import file_of, find, names


def main(args: Sequence[str]) -> None:
    """Run ``lightning-coordconv configs {list,copy}``."""
    parser = OneLineParser("lightning-coordconv configs", description="The configs that come with the package.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="print the name and the first sentence of each config")
    copy = commands.add_parser("copy", help="copy a config to change it")
    copy.add_argument("name", help="as `configs list` prints it")
    copy.add_argument(
        "dest", nargs="?", type=Path, default=Path(), help="a folder (the current one by default), or a .yaml file"
    )
    arguments = parser.parse_args(args)
    if arguments.command == "list":
        for name in names():
            print(f"{name:54} {first_sentence(file_of(name).read_text())}")
        return
    dest, sources = arguments.dest, find(arguments.name)
    if dest.suffix not in (".yaml", ".yml"):
        copies = {dest / source.name: source for source in sources}
    elif len(sources) == 1:
        copies = {dest: sources[0]}
    else:
        files = ", ".join(source.name for source in sources)
        raise ValueError(f"{arguments.name} consists of {files}: give a folder, not the file {dest}")
    for target in copies:
        if target.exists():
            raise ValueError(f"{target} exists: remove it, or give another destination")
    for target, source in copies.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source, target)
        except OSError:  # complete_file would import torch
            target.unlink(missing_ok=True)
            raise
        print(target)


def is_prose(line: str) -> bool:
    """Return whether a line of a config is a comment, and not an indented command in one."""
    return line.startswith("# ") and not line.startswith("#  ")


def first_sentence(text: str) -> str:
    """Return the first sentence of the comment that a config begins with."""
    comment = " ".join(line.removeprefix("# ") for line in itertools.takewhile(is_prose, text.splitlines()))
    sentence, end, _ = comment.partition(". ")
    return sentence + end.rstrip()
