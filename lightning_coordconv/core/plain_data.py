"""Functions that check that values are plain data, as a checkpoint holds, and convert them to Python's own types."""

from collections.abc import Mapping
from typing import Any

import numpy as np

MAX_DEPTH = 32
MAX_VALUES = 10_000
PLAIN = (bool, int, float, complex, str, bytes, type(None))


class UntrustedCheckpointError(ValueError):
    """A checkpoint names something that loading a checkpoint must not import, call or read."""


def check_plain(value: Any, key: str) -> None:
    """Check that a hyperparameter is plain data of reasonable size.

    Args:
        value: numbers, strings and ``None``, or lists, tuples and dicts of them with strings as keys.
        key: the hyperparameter, as error messages name it.

    Raises:
        UntrustedCheckpointError: for other types, more than :data:`MAX_DEPTH` levels, more than :data:`MAX_VALUES`
            values, or a string with ``${...}``, which some configuration libraries evaluate.
    """
    pending, seen = [(value, key, 0)], 0
    while pending:
        item, where, depth = pending.pop()
        seen += 1
        if depth > MAX_DEPTH or seen > MAX_VALUES:
            raise UntrustedCheckpointError(
                f"{key} is nested more than {MAX_DEPTH} levels deep or holds more than {MAX_VALUES} values"
            )
        if isinstance(item, Mapping):
            unnamed = [name for name in item if not isinstance(name, str)]
            if unnamed:
                raise UntrustedCheckpointError(f"{where} has a key that is no string: {shown(unnamed[0])}")
            pending += [(entry, f"{where}.{name}", depth + 1) for name, entry in item.items()]
        elif isinstance(item, list | tuple):
            pending += [(entry, f"{where}.{index}", depth + 1) for index, entry in enumerate(item)]
        elif not isinstance(item, PLAIN):
            raise UntrustedCheckpointError(f"{where} is a {type(item).__name__}, and plain data is expected")
        elif isinstance(item, str) and "${" in item:
            raise UntrustedCheckpointError(f"{where} holds an interpolation: {shown(item)}")


def to_plain(value: Any, depth: int = 0) -> Any:
    """Return a copy of plain data in Python's own types, which every program can read; any other object itself.

    NumPy's numbers and texts become Python's, members of enumerations the values that they equal, and named tuples
    tuples.

    Args:
        value: anything.
        depth: number of lists and dicts around it; beyond :data:`MAX_DEPTH` nothing is changed.
    """
    if depth > MAX_DEPTH:
        return value
    if isinstance(value, Mapping):
        return {name: to_plain(entry, depth + 1) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return (tuple if isinstance(value, tuple) else list)(to_plain(entry, depth + 1) for entry in value)
    if isinstance(value, np.generic):
        value = value.item()
    kind: Any = next((kind for kind in PLAIN if isinstance(value, kind)), type(value))
    if type(value) is kind:
        return value
    return str.__str__(value) if kind is str else kind(value)  # str() of a member of an enumeration is another text


def is_plain(value: Any) -> bool:
    """Return whether a checkpoint can hold a value, after :func:`to_plain`; see :func:`check_plain`."""
    try:
        check_plain(to_plain(value), "value")
    except UntrustedCheckpointError:
        return False
    return True


def copy_plain(value: Any) -> Any:
    """Return a copy of plain data, such as a list of options, in Python's own types; any other object itself."""
    return to_plain(value) if is_plain(value) else value


def shown(value: Any) -> str:
    """Return a value as an error message shows it: its first hundred letters."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
