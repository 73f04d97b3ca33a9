"""Function that leaves long lists of classes out of the help that jsonargparse writes for a command."""

import re

LONG = re.compile(r",\s+known\s+subclasses:[^)]{4000,}")


def without_long_lists(text: str) -> str:
    """Return a help without long lists of classes, as of all modules of torch: they fill hundreds of lines."""
    return LONG.sub("", text)
