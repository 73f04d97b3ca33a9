"""Functions that check integers, shares, seeds, choices and label names, and find names that differ only in case."""

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from numbers import Integral, Real

MAX_SEED = 2**32 - 1
"""Largest seed of NumPy's generator, which Lightning seeds too."""
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Characters that a terminal obeys instead of showing them."""


def check_at_least(minimum: int, **arguments: object) -> None:
    """Check that arguments are integers that are not too small.

    Args:
        minimum: the smallest value that is allowed.
        arguments: values by the name that an error gives them.

    Raises:
        ValueError: for the first value that is smaller, or no integer (a boolean is none).

    Example:
        >>> check_at_least(1, batch_size=16, copies=4)
        >>> check_at_least(1, batch_size=0)
        Traceback (most recent call last):
        ...
        ValueError: batch_size must be at least 1, got 0
    """
    for name, value in arguments.items():
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise ValueError(f"{name} must be an integer, at least {minimum}, got {value!r}")
        if value < minimum:
            raise ValueError(f"{name} must be at least {minimum}, got {value}")


def check_share(**arguments: object) -> None:
    """Check that arguments, such as a threshold of probabilities, are numbers in [0, 1].

    Args:
        arguments: values by the name that an error gives them.

    Raises:
        ValueError: for the first value that is not (a boolean is no number).
    """
    for name, value in arguments.items():
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) <= 1:
            raise ValueError(f"{name} must be a number in [0, 1], got {value!r}")


def check_seed(seed: object) -> int:
    """Return the seed of a run, which is also that of its data.

    Args:
        seed: what ``seed_everything`` is set to. Lightning's ``True`` and ``False`` leave it open.

    Raises:
        ValueError: if it is no integer from 0 to :data:`MAX_SEED`.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed_everything must be an integer from 0 to {MAX_SEED}, got {seed!r}")
    return seed


def check_choice(name: str, value: object, allowed: Collection[object]) -> None:
    """Check that an argument is one of several values.

    Args:
        name: what an error calls the value.
        value: the value.
        allowed: the values that are allowed.

    Raises:
        ValueError: for any other value.

    Example:
        >>> check_choice("labels", "colour", ("content", "position"))
        Traceback (most recent call last):
        ...
        ValueError: labels must be one of 'content', 'position', got 'colour'
    """
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def check_names(class_names: Sequence[str], num_classes: int) -> None:
    """Check the names of classes: one printable text for each, and none twice, because results are reported by name.

    Args:
        class_names: by class.
        num_classes: number of classes.

    Raises:
        ValueError: if there are more or fewer, or one of them is no text, has a control character or occurs twice.

    Example:
        >>> check_names(["sky", "sea", "sky"], 3)
        Traceback (most recent call last):
        ...
        ValueError: class_names must be different texts, got ['sky', 'sea', 'sky']
    """
    if isinstance(class_names, str | Mapping):
        raise ValueError(f"class_names must be a list of texts, got {class_names!r}")
    names = list(class_names)
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError(f"class_names must be different texts, got {names!r}")
    if len(names) != num_classes:
        raise ValueError(f"expected {num_classes} class_names, got {len(names)}: {names}")
    check_printable("class_names", names)


def check_printable(source: object, names: Iterable[str]) -> None:
    r"""Check that names have no control characters: tables and messages print them, and a terminal would obey them.

    Args:
        source: of the names, as an error names it.
        names: of classes.

    Raises:
        ValueError: for the first name that has one.

    Example:
        >>> check_printable("a.txt", ["sky", "sea\x1b[2J"])
        Traceback (most recent call last):
        ...
        ValueError: a.txt has the name 'sea\x1b[2J', with a control character that a terminal would obey: rename it
    """
    for name in names:
        if not is_printable(name):
            raise ValueError(
                f"{source} has the name {name!r}, with a control character that a terminal would obey: rename it"
            )


def is_printable(name: str) -> bool:
    """Tell whether a text has no control characters, such as a line break or the start of a terminal's code."""
    return not CONTROL.search(name)


def similar_names(class_names: Iterable[str]) -> list[str]:
    """Return a line on each group of classes whose names differ only in case or spaces, as after a slip of the pen.

    So do names that look the same: Unicode writes an accented letter as one character or as two.

    Example:
        >>> similar_names(["Cat", "dog", "cat "])
        ["the classes 'Cat', 'cat ' differ only in case or spaces: are they one?"]
    """
    groups: dict[str, list[str]] = {}
    for name in class_names:
        groups.setdefault("".join(_composed(name).casefold().split()), []).append(name)
    lines = []
    for group in groups.values():
        alike = len({_composed(name) for name in group}) < len(group)
        pair, how = ", ".join(map(ascii if alike else repr, group)), ", the form of accents" * alike
        lines += [f"the classes {pair} differ only in case{how} or spaces: are they one?"] if len(group) > 1 else []
    return lines


def _composed(name: str) -> str:
    """Return a text with each accented letter as one character."""
    return unicodedata.normalize("NFC", name)
