"""Functions that put numbers into messages: a number with what it counts, and the first names of a list."""

from collections.abc import Sequence


def count(number: int, what: str) -> str:
    """Return a number and what it counts.

    >>> count(1, "file"), count(2, "file"), count(3, "batch")
    ('1 file', '2 files', '3 batches')
    """
    ending = "es" if what.endswith(("x", "ch")) else "s"
    return f"{number} {what}{'' if number == 1 else ending}"


def first_names(names: Sequence[object], most: int = 5) -> str:
    """Return the names of the first things of a list, and the number of the others.

    >>> first_names(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def listed(kind: str, names: Sequence[object], most: int = 5) -> str:
    """Return a kind of things, how many there are, and the names of the first.

    The number is in brackets behind the kind, which is in the plural: so the sentence is right for one thing, too.

    Args:
        kind: e.g. ``"files that are no images"``.
        names: of the things.
        most: number of names that are listed; the others are counted.

    >>> listed("files that are no images", ["a", "b", "c"], most=2)
    'files that are no images (3): a, b and 1 more'
    """
    return f"{kind} ({len(names)}): {first_names(names, most)}"
