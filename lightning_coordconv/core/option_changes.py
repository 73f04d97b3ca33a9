"""Class of an option that differs between model and checkpoint, and functions that find and describe such options."""

import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from lightning_coordconv.core.hyperparameters import defaults_of

_MISSING = "not set"


class Change(NamedTuple):
    """An option of the model whose value is not that of the checkpoint."""

    name: str
    saved: Any
    given: Any

    @property
    def of_optimiser(self) -> bool:
        """Whether it is an option of an optimiser or a schedule, which only training uses, also one of an agent's."""
        names = self.name.split(".")[1:3]
        return any(word in name for word in ("optimizer", "lr_scheduler", "learning_rate") for name in names)

    def __str__(self) -> str:
        return f"{self.name} is {_shown(self.given)}, and was {_shown(self.saved)}"


def find_changes(saved: Any, given: Any, name: str = "model", arguments: bool = True) -> Iterator[Change]:
    """Yield the options whose values differ, by their dotted names.

    Args:
        saved: the options of a checkpoint, nested.
        given: those of a model.
        name: of all of them.
        arguments: whether they are arguments of a class. Those that one of the two leaves out have their default; where
            that is not known, as of another version, they are not compared. In other mappings a missing option is a
            change.
    """
    if isinstance(saved, Mapping) and isinstance(given, Mapping):
        kind = _comparable(given.get("class_path"))
        if isinstance(kind, type) and kind is _comparable(saved.get("class_path")):
            saved, given = (_with_defaults(kind, each) for each in (saved, given))
        common = arguments or "class_path" in saved
        for key in sorted(saved.keys() & given.keys() if common else saved.keys() | given.keys()):
            values = saved.get(key, _MISSING), given.get(key, _MISSING)
            yield from find_changes(*values, f"{name}.{key}", arguments=key == "init_args")
    elif _comparable(saved) != _comparable(given):
        yield Change(name, saved, given)


def to_text(changes: list[Change]) -> str:
    """Return a line that names changes."""
    return f"options that differ from those of the checkpoint: {'; '.join(map(str, changes))}"


def _with_defaults(kind: type, specification: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the specification of a class with the arguments that it leaves out."""
    arguments = specification.get("init_args") or {}
    complete = {**defaults_of(kind), **arguments} if isinstance(arguments, Mapping) else arguments
    return {**specification, "init_args": complete}


def _comparable(value: Any) -> Any:
    """Return a value with lists in place of tuples, as the command line saves them, and classes in place of paths.

    A class has several paths where a package exports what one of its modules defines.
    """
    if isinstance(value, list | tuple):
        return [_comparable(each) for each in value]
    module, _, name = value.rpartition(".") if isinstance(value, str) else ("", "", "")
    return getattr(sys.modules.get(module), name, value) if name else value


def _shown(value: Any) -> Any:
    """Return a value, of a class, also one with arguments, only its name."""
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    return value.get("class_path", value) if isinstance(value, Mapping) else value
