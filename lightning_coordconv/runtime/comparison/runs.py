"""Class of a training run, and functions that find runs and read their metrics from JSON, CSV and TensorBoard files."""

import csv
import io
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_coordconv.core.image_search import walk
from lightning_coordconv.runtime.csv_rows import complete_lines

Curve = dict[float, float]
"""Values of a metric by step."""
VERSION = re.compile(r"(version|seed|run)_?\d+(-[0-9a-f]{8})?")
"""Names of folders that tell runs of one experiment apart, also those of ``sweep``, which end with a digest."""
COUNTERS = {"epoch", "step", "hp_metric"}
"""Columns that are no metrics; ``hp_metric`` is TensorBoardLogger's placeholder."""

EVENTS = "events.out.tfevents"
"""How the names of TensorBoard's files begin."""
EVALUATION = {"verbose", "return_predictions"}
"""Options of ``validate``, ``test`` and ``predict`` in a configuration, which ``fit`` does not have."""
STEPS = ("logged_step", "step")
"""Steps of a row of a summary's curve: those that loggers write, which older files do not have, and optimiser steps."""


@dataclass
class Run:
    """A run: its metrics, and where they come from.

    Args:
        path: the folder, or the file of a summary that was copied elsewhere.
        name: of the experiment: the logger's, or else that of the folder.
        seed: None where no file tells it.
        config: the resolved configuration; None where there is none.
        metrics: the last value of each metric.
        curves: all values of each metric that was logged with its step.
        steps_are_logged: whether the steps of curves are those that loggers write, as in all files but old summaries,
            which have optimiser steps.
        folder: the given folder that the run was found in. For a folder that is a run itself, or is named as one, it is
            the folder above: runs that are given one by one can belong together.
        written: when the file of the metrics was written last, in seconds since 1970.
    """

    path: Path
    name: str
    seed: int | None = None
    config: dict[str, Any] | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)
    steps_are_logged: bool = True
    folder: Path = Path()
    written: float = 0.0


class NoMetricsError(ValueError):
    """A run has logged no metric, as one that ended at once."""


def find_runs(paths: Sequence[Path]) -> list[Run]:
    """Return the runs in folders and below them.

    Each run is found once, also where folders contain each other or are links to each other. A run is a folder with
    ``summary.json`` (which ``lightning-coordconv fit`` writes), ``metrics.csv`` (Lightning's CSVLogger) or
    TensorBoard's ``events.out.tfevents*``; the first of these that it has is read. A copied summary,
    ``seed<seed>.json``, is a run too. What ``validate``, ``test`` and ``predict`` write is none. A run that has logged
    nothing is left out, with a line on the standard error output that names it, if others are found.

    Raises:
        ValueError: if a path does not exist or has no runs, or a file is broken; the message names it.
    """
    found: dict[Path, Run] = {}
    empty: list[NoMetricsError] = []
    for path in paths:
        if not path.exists():
            raise ValueError(f"{path} does not exist")
        here = set()
        files = [path] if path.is_file() else sorted(folder / name for folder, _, names in walk(path) for name in names)
        for pattern, read in READERS.items():
            for file in (each for each in files if each.match(pattern)):
                run = (file if file.name.startswith("seed") else file.parent).resolve()
                if run in here or is_part_of_a_run(run) or is_evaluation(read_config(file.parent)):
                    continue
                here.add(run)
                if run not in found:
                    try:
                        found[run] = read(file, path)
                    except NoMetricsError as error:
                        empty.append(error)
                        continue
                    found[run].folder = above_runs(path if run != path.resolve() else path.parent)
        if not here:
            raise ValueError(f"{path} has no runs of fit: no {', '.join(READERS)} in it or below")
    if empty and not found:
        raise empty[0]
    for nothing in empty:
        print(f"Not counted: {nothing}", file=sys.stderr)
    return list(found.values())


def above_runs(folder: Path) -> Path:
    """Return a folder, or the first above it whose name is not that of one run of several."""
    while VERSION.fullmatch(folder.name):
        folder = folder.parent
    return folder


def is_part_of_a_run(folder: Path) -> bool:
    """Tell whether TensorBoard's ``add_hparams`` made a folder, named by the time, in that of a run."""
    return re.fullmatch(r"\d{9,}\.\d+", folder.name) is not None and any(folder.parent.glob(f"{EVENTS}*"))


def is_evaluation(config: dict[str, Any] | None) -> bool:
    """Tell whether a configuration of Lightning's command line is that of ``validate``, ``test`` or ``predict``."""
    return config is not None and is_of_command_line(config) and not EVALUATION.isdisjoint(config)


def is_of_command_line(config: Mapping[str, Any]) -> bool:
    """Tell whether Lightning's command line wrote a configuration; others are hyperparameters, with any names."""
    return "seed_everything" in config


def read_summary(file: Path, root: Path) -> Run:
    """Read what ``lightning-coordconv fit`` writes at the end of a run."""
    try:
        summary = json.loads(file.read_text())
        curves: dict[str, Curve] = {}
        logged = all("logged_step" in row for row in summary["curve"])
        for row in summary["curve"]:
            for name in row.keys() - set(STEPS):
                curves.setdefault(name, {})[float(row[STEPS[not logged]])] = float(row[name])
        metrics = {name: curve[max(curve)] for name, curve in curves.items()}
        metrics |= {name: summary[name] for name in ("weights", "steps", "seconds", "cpu_seconds") if name in summary}
        metrics |= {**summary.get("train", {}), **summary.get("test", {})}
        metrics = {name: float(value) for name, value in metrics.items()}
        name, seed = str(summary["experiment"]), summary["seed"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is not the summary of a run: {type(error).__name__}, {error}") from error
    path = file.parent if file.name == "summary.json" else file
    seed = seed if is_seed(seed) else None
    return Run(path, name, seed, read_config(file.parent), metrics, curves, logged, written=file.stat().st_mtime)


def read_csv(file: Path, root: Path) -> Run:
    """Read the metrics of Lightning's CSVLogger."""
    curves: dict[str, Curve] = {}
    try:
        content = file.read_bytes()
        lines = complete_lines(content).decode("utf-8-sig", errors="replace")
        if rest := content[len(complete_lines(content)) :]:
            text = rest.decode(errors="replace")
            print(f"Not counted: the last line of {file}, which has no end: {text}", file=sys.stderr)
        rows = csv.DictReader(io.StringIO(lines, newline=""), strict=True)
        names = rows.fieldnames or ()
        if twice := sorted({name for name in names if list(names).count(name) > 1}):
            raise ValueError(f"the columns {', '.join(twice)} occur more than once")
        for row in rows:
            for name, cell in row.items():
                if cell and name not in COUNTERS:
                    add_point(curves.setdefault(name, {}), float(row["step"]), float(cell))
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise ValueError(f"{file}, line {rows.line_num}: {type(error).__name__}, {error}") from error
    if not curves:
        raise NoMetricsError(f"{file} has no metrics")
    return from_curves([file], root, curves)


def read_events(file: Path, root: Path) -> Run:
    """Read the scalars of all event files in a file's folder."""
    events = EventAccumulator(str(file.parent), size_guidance={"scalars": 0})
    try:
        events.Reload()
        tags = [tag for tag in events.Tags()["scalars"] if tag not in COUNTERS]
        curves: dict[str, Curve] = {tag: {} for tag in tags}
        for tag, curve in curves.items():
            for event in events.Scalars(tag):
                add_point(curve, float(event.step), event.value)
    except Exception as error:  # of several libraries
        raise ValueError(f"{file} cannot be read: {error}") from error
    if not curves:
        raise NoMetricsError(f"{file.parent} has event files without metrics")
    return from_curves(sorted(file.parent.glob(f"{EVENTS}*")), root, curves)


def add_point(curve: Curve, step: float, value: float) -> None:
    """Add a value to a curve. If later ones are there, the run was resumed before them, and they are of no use."""
    while curve and next(reversed(curve)) > step:
        curve.popitem()
    curve[step] = value


READERS: dict[str, Callable[[Path, Path], Run]] = {
    "summary.json": read_summary,
    "seed[0-9]*.json": read_summary,
    "metrics.csv": read_csv,
    f"{EVENTS}*": read_events,
}


def from_curves(files: Sequence[Path], root: Path, curves: dict[str, Curve]) -> Run:
    """Return a run that only the curves in its files describe; name and seed are of its configuration or its folder."""
    folder = files[0].parent
    parts = list(folder.resolve().parts)
    below = list(folder.relative_to(root).parts) if root.is_dir() else []  # a link can lead elsewhere
    config = read_config(folder)
    seeds = [int(match[1]) for part in parts if (match := re.fullmatch(r"seed_?(\d+)(-[0-9a-f]{8})?", part))]
    for names in (parts, below):
        while names and VERSION.fullmatch(names[-1]):
            names.pop()
    seed = find_seed(config)
    return Run(
        folder,
        find_name(config) or "/".join(below) or parts[-1],
        seeds[-1] if seed is None and seeds else seed,
        config,
        {name: curve[max(curve)] for name, curve in curves.items()},
        curves,
        written=max(file.stat().st_mtime for file in files),
    )


class PlainLoader(yaml.SafeLoader):
    """YAML loader that reads descriptions of Python objects, as Lightning writes hyperparameters, as plain data."""


def _plain(loader: Any, tag: str, node: yaml.Node) -> Any:  # PyYAML's types declare no arguments
    """Return the tag of a node, such as ``python/name:torch.nn.ReLU``, with its contents; nothing is built."""
    if isinstance(node, yaml.MappingNode):
        return {tag: loader.construct_mapping(node, deep=True)}
    if isinstance(node, yaml.SequenceNode):
        return {tag: loader.construct_sequence(node, deep=True)}
    return f"{tag} {node.value}"


yaml.add_multi_constructor("", _plain, PlainLoader)


def read_config(folder: Path) -> dict[str, Any] | None:
    """Return the configuration of Lightning's command line, or else the hyperparameters; None without either.

    Raises:
        ValueError: naming a file that is no YAML: without their options, arms could not be told apart.
    """
    for name in ("config.yaml", "hparams.yaml"):
        try:
            text = (folder / name).read_text(encoding="utf-8")
            config = PlainLoader(text).get_single_data()  # type: ignore[no-untyped-call]
        except FileNotFoundError:
            continue
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            raise ValueError(f"{folder / name} cannot be read: {' '.join(str(error).split())}") from error
        if isinstance(config, dict) and config:
            return config
    return None


def find_name(config: dict[str, Any] | None) -> str | None:
    """Return the name of the logger in a configuration of Lightning's command line; None without one."""
    if config is None or not is_of_command_line(config):
        return None
    loggers = (config.get("trainer") or {}).get("logger")
    first = loggers[0] if isinstance(loggers, list) and loggers else loggers
    name = (first.get("init_args") or {}).get("name") if isinstance(first, dict) else None
    return name if isinstance(name, str) else None


def find_seed(config: dict[str, Any] | None) -> int | None:
    """Return the seed of a configuration; None without one."""
    for name in ("seed_everything", "seed"):
        seed = (config or {}).get(name)
        if is_seed(seed):
            return seed
    return None


def is_seed(value: Any) -> TypeGuard[int]:
    """Tell whether a value is a seed: Lightning writes False for a run without one."""
    return isinstance(value, int) and not isinstance(value, bool)
