"""Function that writes generated parts into Markdown pages, each between two comments that name the command."""

from collections.abc import Callable, Mapping
from pathlib import Path


def fill(page: Path, command: str, parts: Mapping[str, Callable[[], str]]) -> None:
    """Replace what stands between ``<!-- NAME: COMMAND -->`` and ``<!-- end of NAME -->``.

    Args:
        page: the file.
        command: that writes the parts, such as ``"python -m benchmarks.results"``.
        parts: functions that make the text, by name.

    Raises:
        SystemExit: if the page lacks a marker.
    """
    text = page.read_text()
    for name, make in parts.items():
        begin, end = f"<!-- {name}: {command} -->\n", f"<!-- end of {name} -->"
        head, found, rest = text.partition(begin)
        if not found or end not in rest:
            raise SystemExit(f"{page} lacks the markers {begin.strip()!r} and {end!r}")
        text = f"{head}{begin}\n{make()}\n\n{end}{rest.partition(end)[2]}"
    page.write_text(text)
