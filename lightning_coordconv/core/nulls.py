"""Function that restores ``null`` on the command line where jsonargparse reads it as the word ``None``."""

from collections.abc import Mapping, Sequence
from typing import Any

NULLS = ("null", "Null", "NULL", "~")
"""How YAML writes that there is no value."""


def restore_nulls(config: Any, words: Sequence[str]) -> None:
    """Set the options that were given as ``null`` to ``None``.

    For a class within a class, as in ``--model.net.init_args.weights null``, jsonargparse 4.53 sets the string
    ``"None"``, which a parameter that takes a name or a file would use as one.

    Args:
        config: what was parsed; changed in place.
        words: the arguments that it was parsed from.
    """
    for index, word in enumerate(words):
        option, equals, value = word.partition("=")
        following = words[index + 1] if index + 1 < len(words) else ""
        if option.startswith("--") and (value if equals else following) in NULLS:
            *path, name = option.removeprefix("--").split(".")
            place = config
            for part in path:
                place = _holder(place, part).get(part)
                if not isinstance(place, Mapping) and not hasattr(place, "get"):
                    break
            else:
                place = _holder(place, name)
                if place.get(name) == "None":
                    place[name] = None


def _holder(place: Any, name: str) -> Any:
    """Return where a name is kept: in the arguments of a class, where ``init_args`` was left out."""
    return place["init_args"] if name not in place and "init_args" in place else place
