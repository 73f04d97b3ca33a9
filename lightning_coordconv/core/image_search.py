"""Functions that list a folder's files or images, find those to predict on, and tell links to the same file."""

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from torchvision.datasets.folder import IMG_EXTENSIONS

from lightning_coordconv.core.dropped import report_dropped

OF_A_RUN = {"config.yaml", "hparams.yaml"}
"""Files that the command line and the loggers write into the folder of a run."""


def find_images(folder: Path, read: Collection[str] = ()) -> list[Path]:
    """Return the image files anywhere below a folder, sorted; the names of other files are logged.

    Args:
        folder: where to look.
        read: suffixes of files that the caller reads too, such as ``".txt"``; they are not logged.

    Raises:
        FileNotFoundError: if there are none, or no such folder.
        ValueError: if a link leads back to a folder that holds it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    files = find_files(folder)
    paths = sorted(path for path in files if path.suffix.lower() in IMG_EXTENSIONS)
    if not paths:
        raise FileNotFoundError(f"there are no images ({', '.join(IMG_EXTENSIONS)}) in {folder}")
    others = [path for path in files if path.suffix.lower() not in (*IMG_EXTENSIONS, *read)]
    report_dropped(f"files in {folder} that are no images", [path.relative_to(folder) for path in others])
    return paths


def find_predicted(root: Path, predict_images: str) -> tuple[Path, list[Path]]:
    """Return a folder and its images to make predictions for; for one file, its folder and the file.

    Args:
        root: folder of the data.
        predict_images: a folder or a file, by its path from ``root``, or else from the current folder.

    Raises:
        FileNotFoundError: naming both places, if neither exists; or if a folder has no images.
        ValueError: naming both places, if both exist and differ.
    """
    places = [start / Path(predict_images).expanduser() for start in (root, Path.cwd())]
    there = {identity_of(place): place for place in places if place.exists()}
    if len(there) > 1 and Path(predict_images).name:  # "." is ``root``
        both = " and ".join(str(place.absolute()) for place in places)
        raise ValueError(f"predict_images is {predict_images!r}, which {both} both are: give the absolute path of one")
    if not there:
        missing = " nor ".join(map(str, dict.fromkeys(places)))
        raise FileNotFoundError(f"predict_images is {predict_images!r}, but there is no {missing}")
    found = next(iter(there.values()))
    return (found.parent, [found]) if found.is_file() else (found, find_images(found))


def leave_out_repeated(paths: Sequence[Path], folder: Path) -> list[Path]:
    """Return paths without those that lead to the file of an earlier one, whose names are logged.

    A picture behind two links would otherwise be in two parts of a random split. Costs 2 microseconds a file.

    Args:
        paths: of files.
        folder: where they were found.
    """
    first: dict[object, Path] = {}
    for path in paths:
        first.setdefault(identity_of(path), path)
    kept = set(first.values())
    repeated = [path.relative_to(folder) for path in paths if path not in kept]
    report_dropped(f"files in {folder} that are links to others of them", repeated)
    return list(first.values())


def find_files(folder: Path) -> list[Path]:
    """Return the files anywhere below a folder, behind links too, those of each folder sorted.

    Folders of runs are left out, and named: the figures in them would otherwise become data of the next run. So are
    hidden ones, such as ``.ipynb_checkpoints``, which hold copies.

    Raises:
        ValueError: if a link leads back to a folder that holds it: its files would be found again and again.
    """
    found: list[Path] = []
    runs: list[Path] = []
    hidden: list[Path] = []
    for parent, folders, names in walk(folder):
        if set(names) >= OF_A_RUN:
            folders.clear()
            runs.append(parent.relative_to(folder))
            continue
        hidden += [(parent / name).relative_to(folder) for name in folders if name.startswith(".")]
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [parent / name for name in names]
    report_dropped(f"folders of runs in {folder}", runs)
    report_dropped(f"hidden folders in {folder}", hidden)
    return found


def walk(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield each folder below one, behind links too, with the sorted names of its folders and files, as ``os.walk``.

    Raises:
        ValueError: if a link leads back to a folder that holds it: its files would be found again and again.
    """
    above: dict[str, list[str]] = {}  # for each folder, its real path and those of the folders that lead to it
    for parent, folders, names in os.walk(folder, followlinks=True):
        real, leading = os.path.realpath(parent), above.get(os.path.dirname(parent), [])
        if real in leading:
            raise ValueError(f"{parent} is a link to a folder that holds it, so its files would be found without end")
        above[parent] = [*leading, real]
        folders.sort()
        yield Path(parent), folders, sorted(names)


def identity_of(path: Path) -> object:
    """Return what is the same for all paths of a file, whatever links lead to it; the path itself of a missing file."""
    try:
        found = path.stat()
    except OSError:  # such as a broken link, which is refused where it is read
        return Path(os.path.abspath(path))
    return found.st_dev, found.st_ino
