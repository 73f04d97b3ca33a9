"""The configs that come with the package: finds them by name, lists and copies them, and names a run after its config.

A config's name is its path below the folder of configs, without the suffix: ``detection/coco_coordconv``.
"""

import difflib
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from lightning_coordconv.runtime.errors import OneLineParser

PACKAGE = Path(__file__).parents[1]
CONFIGS = next((path for path in (PACKAGE / "configs", PACKAGE.parent / "configs") if path.is_dir()), PACKAGE)
"""The folder of configs: in an installed package, or else beside the package in a clone of the repository."""
LINKED = dict.fromkeys(
    ("data.seed", "data.init_args.seed"),
    "the data get the seed of the run, so data.seed would have no effect: give seed_everything",
)
"""Options whose values the parser replaces by those of other options, and what to say of each."""

PARTS = (("data",), ("model",), ("trainer",))
"""Options whose values can be files with a part of the configuration."""


def names() -> list[str]:
    """Return the names of all configs."""
    return sorted(path.relative_to(CONFIGS).with_suffix("").as_posix() for path in CONFIGS.rglob("*.yaml"))


def experiments() -> dict[str, list[Path]]:
    """Return the configs of each experiment: one config, or a config and an overlay.

    An overlay's header says which configs it goes with, in lines like ``#   fit -c NAME -c OVERLAY``. Presets are left
    out.
    """
    found: dict[str, list[Path]] = {}
    for name in (name for name in names() if not name.startswith("presets/")):
        lines = re.findall(r"^#   (?:lightning-coordconv )?fit ((?:-c \S+ ?)+)", _file(name).read_text(), re.MULTILINE)
        runs = [line.split()[1::2] for line in lines] or [[name]]
        found |= {experiment(paths): paths for paths in ([_file(config) for config in run] for run in runs)}
    return found


def find(config: str) -> list[Path]:
    """Return the file of a config, or the files of an experiment.

    Args:
        config: the path of a file, or the name of a config or of an experiment that comes with the package, with or
            without ``.yaml``.

    Raises:
        ValueError: if there is none, with the names that are nearest.
    """
    if Path(config).is_file():
        return [Path(config)]
    name = config.removeprefix("configs/").removesuffix(".yaml")
    if _file(name).is_file():
        return [_file(name)]
    known = experiments()
    if name in known:
        return known[name]
    nearest = difflib.get_close_matches(name, {*known, *names()}, cutoff=0.5)
    advice = f"did you mean {' or '.join(nearest)}?" if nearest else "`lightning-coordconv configs list` lists them all"
    raise ValueError(f"there is no config {config!r}, neither a file nor a name: {advice}")


def check(path: Path, keys: tuple[str, ...] = ()) -> None:
    """Check what the parser would pass over: a key that occurs twice, whose last value would win, and :data:`LINKED`.

    Files that a value of the file names are checked too. Nothing in them is built.

    Args:
        path: a YAML file.
        keys: the option that the file is the value of, as ``("data",)``; none for a config.

    Raises:
        ValueError: naming the file, and the line if there is one, if it is no YAML, no mapping, or holds such a key.
    """
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        raise ValueError(f"{where}: this is no YAML file: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(root, yaml.MappingNode):
        raise ValueError(f"{path} is no config: it must be a mapping with keys such as model, data and trainer")
    _check_nodes(root, keys, path)


def check_option(name: str, value: str) -> None:
    """Check the value of an option of the command line, which can be a mapping or the name of a file, as a config.

    Args:
        name: with dots, without dashes.
        value: the text.

    Raises:
        ValueError: as :func:`check` does, or naming the option.
    """
    if name in LINKED:
        raise ValueError(LINKED[name])
    keys = tuple(name.split("."))
    if value.startswith("{"):
        with suppress(yaml.YAMLError, RecursionError):  # the parser reports it
            if (root := yaml.compose(value, Loader=yaml.SafeLoader)) is not None:
                _check_nodes(root, keys, None)
    elif _is_part(keys, Path(value)):
        check(Path(value), keys)


def is_yaml_file(path: Path) -> bool:
    """Tell whether there is a file with the ending of YAML."""
    return path.suffix in (".yaml", ".yml") and path.is_file()


def _check_nodes(root: yaml.Node, keys: tuple[str, ...], path: Path | None) -> None:
    """Check the keys of nested mappings, by their dotted names: a key can be nested or have dots."""
    pending: list[tuple[yaml.Node, tuple[str, ...]]] = [(root, keys)]
    checked: set[int] = set()  # an alias is the same node
    seen: set[str] = set()
    while pending:
        node, keys = pending.pop()
        if id(node) in checked:
            continue
        checked.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            pending += [(entry, (*keys, str(number))) for number, entry in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                name = ".".join((*keys, str(key.value)))
                where = f"{path}, line {key.start_mark.line + 1}" if path else f"--{'.'.join(keys)}"
                if name in seen:
                    raise ValueError(f"{where}: the key {name} occurs twice; give its entries in one place")
                if name in LINKED:
                    raise ValueError(f"{where}: {LINKED[name]}")
                seen.add(name)
                pending.append((value, (*keys, str(key.value))))
        elif path and _is_part(keys, path.parent / node.value):
            check(path.parent / node.value, keys)


def _is_part(keys: tuple[str, ...], path: Path) -> bool:
    """Tell whether the parser reads a value as a part of the configuration: other values can be files of data."""
    return (keys in PARTS or keys[-1] == "init_args") and is_yaml_file(path)


def with_paths(args: Sequence[str]) -> list[str]:
    """Return command line arguments with the paths of configs in place of their names.

    Raises:
        ValueError: for a config that does not exist, and for a config or an option that :func:`check` refuses.
    """
    found: list[str] = []
    words = iter(zip(args, [*args[1:], None], strict=True))
    for word, following in words:
        option, equals, value = word.partition("=")
        if option not in ("-c", "--config"):
            if option.startswith("--"):
                check_option(option.removeprefix("--"), value if equals else following or "")
            found.append(word)
        elif (config := value if equals else next(words, (None, None))[0]) is None:
            found.append(word)  # the parser says that the option needs a value
        else:
            for path in find(config):
                check(path)
                found += ["--config", str(path)]
    return found


def experiment(paths: Sequence[Path]) -> str:
    """Return the name of the experiment that configs define together: that of the first, with the stems of the others.

    Below a folder that is called ``configs`` a config's name includes its folders; elsewhere it is the file's stem.
    Presets do not count: they change how an experiment runs, not what it is.

    >>> experiment([Path("configs/generative/small_conv.yaml"), Path("configs/generative/ablations/long.yaml")])
    'generative/small_conv_long'
    >>> experiment([Path("/home/me/mine.yaml")])
    'mine'
    """
    first, *overlays = paths
    parts = first.with_suffix("").parts
    start = len(parts) - parts[::-1].index("configs") if "configs" in parts[:-1] else len(parts) - 1
    return "_".join(["/".join(parts[start:]), *(path.stem for path in overlays if path.parent.name != "presets")])


def name_loggers(config: Any) -> None:
    """Name the loggers of a run after its configs, where they have no name.

    Args:
        config: what the command line parsed for a subcommand; changed in place.
    """
    paths = [Path(str(path)).absolute() for path in config.get("config") or []]
    loggers = config["trainer"]["logger"]
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        arguments = getattr(logger, "init_args", None)
        if paths and arguments is not None and arguments.get("name", "") in (None, "lightning_logs"):
            arguments["name"] = experiment(paths)


def main(args: Sequence[str]) -> None:
    """Run ``lightning-coordconv configs {list,copy}``."""
    parser = OneLineParser("lightning-coordconv configs", description="The configs that come with the package.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="print the name and the first line of each config")
    copy = commands.add_parser("copy", help="copy a config to change it")
    copy.add_argument("name", help="as `configs list` prints it")
    copy.add_argument(
        "dest", nargs="?", type=Path, default=Path(), help="a folder (the current one by default) or a file"
    )
    arguments = parser.parse_args(args)
    if arguments.command == "list":
        for name in names():
            print(f"{name:54} {_file(name).read_text().partition(chr(10))[0].removeprefix('# ')}")
        return
    sources, dest = find(arguments.name), arguments.dest
    if len(sources) > 1 and not dest.is_dir():
        raise ValueError(f"{arguments.name} is {len(sources)} files: give a folder that is there, got {dest}")
    targets = [dest / source.name if dest.is_dir() else dest for source in sources]
    for target in targets:
        if target.exists():
            raise ValueError(f"{target} exists: remove it, or give another destination")
    for source, target in zip(sources, targets, strict=True):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        print(target)


def _file(name: str) -> Path:
    return CONFIGS / f"{name}.yaml"
