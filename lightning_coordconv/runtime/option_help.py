"""Function that answers ``--model.net.help`` and the like: an option's meaning, its classes, and their arguments."""

import importlib
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from docstring_parser import parse
from torch import nn
from torchmetrics import Metric

from lightning_coordconv.core.task import BaseTask

ASKED = re.compile(r"--((?:model|data)(?:\.\w+)+)\.help(?:=.*)?")
CLASS = "class_path"


def explain(words: Sequence[str]) -> str | None:
    """Return the answer to a word such as ``--model.net.help`` among arguments; ``None`` if there is none.

    Args:
        words: arguments of a command, with the paths of configs.

    Raises:
        ValueError: if the arguments do not name the class that has the option, or it has no such option.
    """
    asked = next((match[1] for word in words if (match := ASKED.fullmatch(word))), None)
    if asked is None:
        return None
    *path, name = asked.replace(".init_args", "").split(".")
    place: Any = _chosen(words)
    for key in path:
        place = place.get(key, {}) if isinstance(place, Mapping) else {}
    if not isinstance(place, Mapping) or CLASS not in place:
        owner = ".".join(path)
        raise ValueError(f"--{asked}.help needs the class of {owner}: give a config, or --{owner} CLASS, before it")
    return "\n".join(_lines([*path, name], _class(place[CLASS]), place.get(name)))


def _lines(path: list[str], owner: type, value: Any) -> Iterator[str]:
    option, name = ".".join(path), path[-1]
    found = inspect.signature(owner).parameters
    if name not in found:
        raise ValueError(f"{owner.__name__} has no option {name}: it has {', '.join(found)}")
    package = ".".join(owner.__module__.split(".")[:2])
    yield f"--{option}: {_described(owner, name)}"
    yield f"  Type: {inspect.formatannotation(found[name].annotation).replace('torch.nn.modules.module', 'torch.nn')}"
    if found[name].default is not inspect.Parameter.empty:
        yield f"  Default: {found[name].default}"
    networks = _networks(package) if "Module" in str(found[name].annotation) else []
    if "list[" in str(found[name].annotation):
        yield "  In a config, a list of classes with their arguments:"
        yield f"    {name}: [{{class_path: PACKAGE.CLASS, init_args: {{NAME: VALUE}}}}, ...]"
    elif networks:
        yield f"  Classes of the package: {', '.join(f'{package}.{each}' for each in networks)}"
        yield f"  Any other class works by its path: --{option} PACKAGE.CLASS --{option}.ARGUMENT VALUE"
    if isinstance(value, Mapping) and CLASS in value:
        kind = _class(value[CLASS])
        yield f"Arguments of {value[CLASS]}, which is chosen now:"
        for argument, parameter in inspect.signature(kind).parameters.items():
            shown = value.get(argument, parameter.default)
            now = "required" if shown is inspect.Parameter.empty else f"now {shown}"
            yield f"  --{option}.{argument} ({now}): {_described(kind, argument)}"
    elif value is not None:
        yield f"Now: {value}"


def _described(kind: type, argument: str) -> str:
    """Return what the docstring of a class says of an argument, in one line."""
    descriptions = {entry.arg_name: entry.description for entry in parse(inspect.getdoc(kind) or "").params}
    return " ".join((descriptions.get(argument) or "its docstring does not say what it is").split())


def _networks(package: str) -> list[str]:
    """Return the names of the networks that a package of a domain offers."""
    module = importlib.import_module(package)
    found = {name: getattr(module, name) for name in getattr(module, "__all__", ())}
    return [
        name
        for name, kind in found.items()
        if inspect.isclass(kind) and issubclass(kind, nn.Module) and not issubclass(kind, BaseTask | Metric)
    ]


def _class(path: str) -> type:
    module, _, name = path.rpartition(".")
    try:
        kind: type = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"there is no class {path}: give it as PACKAGE.CLASS") from error
    return kind


def _chosen(words: Sequence[str]) -> dict[str, Any]:
    """Return what configs and options say: a class is a dict with its arguments and ``class_path``."""
    chosen: dict[str, Any] = {}
    for index, word in enumerate(words):
        option, equals, value = word.partition("=")
        value = value if equals else "".join(words[index + 1 : index + 2])
        if option == "--config":
            _merge(chosen, _flattened(yaml.safe_load(Path(value).read_text("utf-8"))))
        elif option.startswith(("--model", "--data")) and not ASKED.fullmatch(word):
            keys = option.removeprefix("--").replace(".init_args", "").split(".")
            new: Any = {CLASS: value} if re.fullmatch(r"(\w+\.)+[A-Z]\w*", value) else value
            for key in reversed(keys):
                new = {key: new}
            _merge(chosen, new)
    return chosen


def _flattened(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    arguments = value.get("init_args", {}) if CLASS in value or "init_args" in value else value
    named = {CLASS: value[CLASS]} if CLASS in value else {}
    return named | {key: _flattened(each) for key, each in arguments.items()}


def _merge(into: dict[str, Any], new: Mapping[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            if value.get(CLASS, into[key].get(CLASS)) != into[key].get(CLASS):
                into[key] = {}  # another class has other arguments
            _merge(into[key], value)
        else:
            into[key] = value
