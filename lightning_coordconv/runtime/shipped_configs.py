"""Functions that find shipped configs and experiments by name, and name a run's log folder after its configs.

A config's name is its path below the folder of configs, without the suffix: ``detection/coco_coordconv``.
"""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_coordconv.runtime.config_files import read_config, read_option, values_of

PACKAGE = Path(__file__).parents[1]
CONFIGS = next((path for path in (PACKAGE / "configs", PACKAGE.parent / "configs") if path.is_dir()), PACKAGE)
"""The folder of configs: in an installed package, or else beside the package in a clone of the repository."""


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
        lines = re.findall(
            r"^#   (?:lightning-coordconv )?fit ((?:-c \S+ ?)+)", file_of(name).read_text(), re.MULTILINE
        )
        runs = [line.split()[1::2] for line in lines] or [[name]]
        found |= {experiment(paths): paths for paths in ([file_of(config) for config in run] for run in runs)}
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
    if file_of(name).is_file():
        return [file_of(name)]
    known = experiments()
    if name in known:
        return known[name]
    nearest = difflib.get_close_matches(name, {*known, *names()}, cutoff=0.5)
    advice = f"did you mean {' or '.join(nearest)}?" if nearest else "`lightning-coordconv configs list` lists them all"
    raise ValueError(f"there is no config {config!r}, neither a file nor a name: {advice}")


def with_paths(args: Sequence[str]) -> list[str]:
    """Return command line arguments with the paths of configs in place of their names.

    Raises:
        ValueError: for a config that does not exist, for keys of configs and options that
            :mod:`~lightning_coordconv.runtime.config_files` refuses, and for an option that a later config overrides.
    """
    found: list[str] = []
    given: dict[str, str] = {}  # options so far, by the names of what they set
    words = list(args)
    while words:
        word = words.pop(0)
        option, equals, value = word.partition("=")
        following = value if equals else next(iter(words), None)
        if option not in ("-c", "--config") or following is None:  # without a value the parser says what it needs
            if option.startswith("--"):
                given |= dict.fromkeys(values_of(read_option(option, following or "")), option)
            found.append(word)
            continue
        if not equals:
            words.pop(0)
        for path in find(following):
            for name in values_of(read_config(path)):
                if name in given:
                    raise ValueError(f"{given[name]} has no effect before {path}, which sets {name}: put it last")
            found.append(f"--config={path}")
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


def file_of(name: str) -> Path:
    """Return the file of a config."""
    return CONFIGS / f"{name}.yaml"
