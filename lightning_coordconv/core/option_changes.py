"""Class of an option that differs between model and checkpoint, and functions that find and describe such options."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Change(NamedTuple):
    """An option of the model whose value is not that of the checkpoint."""

    name: str
    saved: Any
    given: Any

    @property
    def of_optimiser(self) -> bool:
        """Whether it is an option of an optimiser or a schedule, which only training uses."""
        name = self.name.split(".")[1]
        return any(word in name for word in ("optimizer", "lr_scheduler", "learning_rate"))

    def __str__(self) -> str:
        return f"{self.name} is {_shown(self.given)}, and was {_shown(self.saved)}"


def find_changes(saved: Any, given: Any, name: str = "model") -> Iterator[Change]:
    """Yield the options that both have, by their dotted names, whose values differ.

    Args:
        saved: the options of a checkpoint, nested.
        given: those of a model.
        name: of all of them.
    """
    if isinstance(saved, Mapping) and isinstance(given, Mapping):
        for key in sorted(saved.keys() & given.keys()):
            yield from find_changes(saved[key], given[key], f"{name}.{key}")
    elif saved != given:
        yield Change(name, saved, given)


def to_text(changes: list[Change]) -> str:
    """Return a line that names changes."""
    return f"options that differ from those of the checkpoint: {'; '.join(map(str, changes))}"


def _shown(value: Any) -> Any:
    """Return a value, of a class with its arguments only the name of the class."""
    return value.get("class_path", value) if isinstance(value, Mapping) else value
