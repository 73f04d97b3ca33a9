"""Refusals of single entries of data: raised at the first one by a run, collected by a check of the data."""

from collections.abc import Callable
from typing import TypeAlias


class EntryError(ValueError):
    """One entry of the data, such as a line of a file, that cannot be used.

    Args:
        where: the entry: its file and, in it, its line or number.
        kind: what is wrong with entries of this kind, in the plural, such as ``"boxes without area"``.
        reason: what is wrong with this one; it continues ``where`` as a sentence.

    Attributes:
        where: as above.
        kind: as above.
    """

    def __init__(self, where: object, kind: str, reason: str) -> None:
        super().__init__(f"{where} {reason}")
        self.where = str(where)
        self.kind = kind


Refuse: TypeAlias = Callable[[EntryError], None]
"""Receives each refusal. If it returns, the entry is left out."""


def raise_refused(refused: EntryError) -> None:
    """Raise the refusal, so that the first entry that cannot be used ends the run."""
    raise refused
