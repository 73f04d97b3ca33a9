"""Context manager for optional imports, whose error names the extra to install."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def extra(name: str, purpose: str) -> Iterator[None]:
    """Return a context for imports of packages that belong to an extra.

    Args:
        name: the extra, as in ``pip install 'lightning-coordconv[name]'``.
        purpose: what needs the packages, in the plural.

    Raises:
        ModuleNotFoundError: if a package is missing, with the command that installs it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("lightning_coordconv"):
            raise
        missing = (error.name or "").partition(".")[0]
        message = f"{purpose} need {missing}: pip install 'lightning-coordconv[{name}]'"
        raise ModuleNotFoundError(message, name=error.name) from error
