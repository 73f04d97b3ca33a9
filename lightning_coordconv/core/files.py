"""Functions that write a file completely or not at all, and refuse to write over a file that was read."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def complete_file(path: Path) -> Iterator[Path]:
    """Return a context for writing a file: it appears at its path, complete, if the context ends without an error.

    Args:
        path: the file; it is replaced if it exists.

    Raises:
        OSError: naming the path, if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # a folder of a new name, on the same disk: no file that is there can be in the way
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=path.parent) as folder:
            part = Path(folder, path.name)
            yield part
            os.replace(part, path)
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error}") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all; see :func:`complete_file`."""
    with complete_file(path) as part:
        part.write_text(text, encoding="utf-8")


def refuse_input(path: Path, inputs: Iterable[Path]) -> None:
    """Raise ValueError if a file that is to be written is one of those that the same command reads, also by a link."""
    if path.exists() and any(each.exists() and path.samefile(each) for each in inputs):
        raise ValueError(f"{path} is read by this command, and would be replaced: give another file to write")
