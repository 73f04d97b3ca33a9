"""Class of config entries, and functions that read them from files and options and refuse repeated or useless keys."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

SECTIONS = ("model", "data", "trainer")
"""Keys whose value may be the path of a file with their entries."""
COMMANDS = ("fit", "validate", "test", "predict")
"""Keys of a config that is given before the command, with the config of each."""
ARGUMENTS = ("init_args", "dict_kwargs")
"""Keys that may be left out: ``data.seed`` means ``data.init_args.seed``."""
LINKED = {"data.seed": "the data get the seed of the run, so data.seed would have no effect: give seed_everything"}
"""Keys whose values the parser replaces by those of other keys, and what to say of each."""


class Entry(NamedTuple):
    """A key of a config with its value.

    Args:
        name: the keys down to this one, joined by dots, without the name of a command and :data:`ARGUMENTS`.
        value: what the key is set to.
        file: the file that it is in; ``None`` for an option of the command line.
    """

    name: str
    value: yaml.Node
    file: Path | None


def read_config(path: Path, key: str = "") -> list[Entry]:
    """Return all entries of a file and of the files that it refers to. Nothing in them is built.

    Args:
        path: a config, or a file that a config refers to.
        key: the key of its contents; empty for a config.

    Raises:
        ValueError: naming the file, and the line if there is one, if it is no YAML, no mapping, or has a key twice,
            whose last value would win, or a key of :data:`LINKED`.
    """
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        raise ValueError(f"{where}: this is no YAML file: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(root, yaml.MappingNode):
        raise ValueError(f"{path} is no config: it must be a mapping with keys such as model, data and trainer")
    return list(_entries(root, tuple(key.split(".")) if key else (), path))


def read_option(word: str, value: str) -> list[Entry]:
    """Return all entries of an option: its own, those of a value in braces, and those of a file.

    Args:
        word: the option, such as ``--data.init_args``.
        value: its value.

    Raises:
        ValueError: as :func:`read_config` does.
    """
    keys = tuple(word.removeprefix("--").removesuffix("+").split("."))
    try:
        node = yaml.compose(value, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        node = None
    if not isinstance(node, yaml.CollectionNode):
        node = yaml.ScalarNode("tag:yaml.org,2002:str", value)
    entry = Entry(_name(keys), node, None)
    _check(entry, word)
    return [entry, *_entries(node, keys, None)]


def files_of(entries: list[Entry]) -> list[Path]:
    """Return the files that entries are in, each once."""
    return list(dict.fromkeys(entry.file for entry in entries if entry.file is not None))


def values_of(entries: list[Entry]) -> list[str]:
    """Return the names of what entries set; a class has the name of the key that it is the value of."""
    values = [entry for entry in entries if not isinstance(entry.value, yaml.MappingNode)]
    return [entry.name.removesuffix(".class_path") for entry in values]


def modules_of(entries: list[Entry]) -> list[Path]:
    """Return the modules in the current folder that values name, each once.

    ``mine.Network`` and ``mine:Game-v0`` name ``mine.py``, or ``mine/__init__.py``.
    """
    values = [value for entry in entries for value in _scalars(entry.value)]
    found = [re.fullmatch(r"(\w+(?:\.\w+)*)(?:\.\w+|:\S+)", value) for value in values]
    modules = [Path(*match[1].split(".")) for match in found if match]
    files = dict.fromkeys(file for path in modules for file in (path.with_suffix(".py"), path / "__init__.py"))
    return [file for file in files if file.is_file()]


def _scalars(node: yaml.Node) -> Iterator[str]:
    """Yield a value, or the values of a list."""
    if isinstance(node, yaml.SequenceNode):
        for member in node.value:
            yield from _scalars(member)
    elif isinstance(node, yaml.ScalarNode):
        yield str(node.value)


def _entries(root: yaml.Node, keys: tuple[str, ...], file: Path | None) -> Iterator[Entry]:
    pending = [(root, keys)]
    walked: set[int] = set()  # an alias is the same node
    seen: set[str] = set()
    while pending:
        node, keys = pending.pop()
        if id(node) in walked:
            continue
        walked.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            pending += [(entry, (*keys, str(index))) for index, entry in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                parts = (*keys, *str(key.value).split("."))
                where = f"{file}, line {key.start_mark.line + 1}" if file else f"--{'.'.join(parts)}"
                entry = Entry(_name(parts), value, file)
                _check(entry, where)
                written = ".".join([*(part for part in parts[:-1] if part not in ARGUMENTS), parts[-1]])
                if written in seen:
                    raise ValueError(f"{where}: the key {written} occurs twice; give its entries in one place")
                seen.add(written)
                yield entry
                pending.append((value, parts))
        elif isinstance(node, yaml.ScalarNode) and (path := _referred(node, _name(keys), file)):
            yield from read_config(path, ".".join(keys))


def _check(entry: Entry, where: str) -> None:
    if entry.name in LINKED:
        raise ValueError(f"{where}: {LINKED[entry.name]}")


def _name(keys: tuple[str, ...]) -> str:
    keys = keys[1:] if keys[0] in COMMANDS else keys
    return ".".join(key for key in keys if key not in ARGUMENTS)


def _referred(node: yaml.ScalarNode, name: str, file: Path | None) -> Path | None:
    """Return the file that the parser reads in place of its path: a section, or a class with its arguments."""
    if name not in SECTIONS and not node.value.endswith((".yaml", ".yml")):
        return None
    path = Path(file.parent if file else "", node.value)
    try:
        if not path.is_file():
            return None
        return path if name in SECTIONS or "class_path" in yaml.safe_load(path.read_text(encoding="utf-8")) else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError):
        return None
