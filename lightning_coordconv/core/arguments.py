"""Functions that check integers, choices and names of labels, and find names that differ only in case or spaces."""

from collections.abc import Collection, Iterable, Sequence
from numbers import Integral


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
    """Check the names of classes: one text for each, and none twice, because results are reported by name.

    Args:
        class_names: by class.
        num_classes: number of classes.

    Raises:
        ValueError: if there are more or fewer, or one of them is no text or occurs twice.

    Example:
        >>> check_names(["sky", "sea", "sky"], 3)
        Traceback (most recent call last):
        ...
        ValueError: class_names must be different texts, got ['sky', 'sea', 'sky']
    """
    names = class_names if isinstance(class_names, str) else list(class_names)
    if isinstance(names, str) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError(f"class_names must be different texts, got {names!r}")
    if len(names) != num_classes:
        raise ValueError(f"expected {num_classes} class_names, got {len(names)}: {names}")


def similar_names(class_names: Iterable[str]) -> list[str]:
    """Return a line on each group of classes whose names differ only in case or spaces, as after a slip of the pen.

    Example:
        >>> similar_names(["Cat", "dog", "cat "])
        ["the classes 'Cat', 'cat ' differ only in case or spaces: are they one?"]
    """
    groups: dict[str, list[str]] = {}
    for name in class_names:
        groups.setdefault("".join(name.casefold().split()), []).append(name)
    pairs = [", ".join(map(repr, group)) for group in groups.values() if len(group) > 1]
    return [f"the classes {pair} differ only in case or spaces: are they one?" for pair in pairs]
