"""Optional packages, and what to say where they are missing."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def extra(name: str, purpose: str) -> Iterator[None]:
    """Import packages of an extra within this context.

    Args:
        name: the extra, as in ``pip install 'lightning-coordconv[name]'``.
        purpose: what it is needed for, a plural.

    Raises:
        ModuleNotFoundError: if one is missing, saying how to get it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("lightning_coordconv"):
            raise
        missing = (error.name or "").partition(".")[0]
        message = f"{purpose} need {missing}: pip install 'lightning-coordconv[{name}]'"
        raise ModuleNotFoundError(message, name=error.name) from error
