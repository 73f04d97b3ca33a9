"""Function that parses a decimal number in a text file, more strictly than Python's ``float``."""

import re

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def parse_number(text: str) -> float:
    """Return the number that a text of a file is, in decimal notation.

    Python's ``float`` also reads ``1_0`` as 10, digits of other scripts, ``inf`` and ``nan``.

    Args:
        text: with or without spaces around the number.

    Raises:
        ValueError: if it is no number.

    Example:
        >>> parse_number(" 1.5e2 ")
        150.0
        >>> parse_number("1_0")
        Traceback (most recent call last):
        ...
        ValueError: expected a number, got '1_0'
    """
    if not NUMBER.fullmatch(text.strip()):
        raise ValueError(f"expected a number, got {text!r}")
    return float(text)
