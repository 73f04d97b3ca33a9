"""Function that reports image files with the same bytes, in two splits or twice in one, and images in no split."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from lightning_coordconv.core.counts import listed
from lightning_coordconv.core.image_search import find_images

NAMED = 3
"""Number of pairs of files that a remark names; the others are counted."""


def remarks_on_files(path: Path, splits: Mapping[str, Sequence[Path]], others: Iterable[Path]) -> list[str]:
    """Return a line on pictures in two splits, one on those that a split has twice, and one on those in no split.

    A copy in two splits makes a test too easy; one in a split counts twice, perhaps with two labels. Files of one size
    are read whole to compare them.

    Args:
        path: the folder of the data, or a file that lists them; without a folder nothing is said of other pictures.
        splits: the images of each split.
        others: files of the data that are no samples, such as masks.
    """
    lines = []
    folder = path if path.is_dir() else path.parent
    shared, twice = _pairs(splits)
    for what, pairs in (("in two splits with the same content", shared), ("that occur twice in a split", twice)):
        if pairs:
            names = [f"{_within(folder, one)} = {_within(folder, two)}" for one, two in pairs]
            lines.append(listed(f"pictures {what}", names, NAMED))
    if path.is_dir():
        known = {os.path.realpath(file) for files in (*splits.values(), others) for file in files}
        found: Sequence[Path] = ()
        with suppress(FileNotFoundError, ValueError):
            found = find_images(folder)
        unread = Counter(
            file.relative_to(folder).parts[0] for file in found if os.path.realpath(file) not in known
        )  # by the folder, or the name of a file
        if unread:
            shown = ", ".join(f"{name} ({count})" for name, count in unread.most_common(NAMED))
            more = f" and {len(unread) - NAMED} more places" if len(unread) > NAMED else ""
            lines.append(f"pictures in no split ({unread.total()}): {shown}{more}")
    return lines


def _pairs(splits: Mapping[str, Sequence[Path]]) -> tuple[list[tuple[Path, Path]], list[tuple[Path, Path]]]:
    """Return the files that have the content of an earlier one of another split, and of the same split."""
    sizes = defaultdict(list)
    for split, files in splits.items():
        for file in files:
            with suppress(OSError):  # reported where it is read
                sizes[file.stat().st_size].append((split, file))
    shared: list[tuple[Path, Path]] = []
    twice: list[tuple[Path, Path]] = []
    for group in sizes.values():
        first: dict[bytes, tuple[str, Path]] = {}
        for split, file in group if len(group) > 1 else ():
            with suppress(OSError), file.open("rb") as content:
                earlier = first.setdefault(hashlib.file_digest(content, "sha256").digest(), (split, file))
                if earlier != (split, file):
                    (twice if earlier[0] == split else shared).append((earlier[1], file))
    return shared, twice


def _within(folder: Path, file: Path) -> Path:
    return file.relative_to(folder) if file.is_relative_to(folder) else file
