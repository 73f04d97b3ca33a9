"""Functions that read checkpoint files, verify check sums and run no code unless trusted, and the errors they raise."""

import os
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch

from lightning_coordconv.core.hyperparameters import build_arguments, resolve_class
from lightning_coordconv.core.plain_data import UntrustedCheckpointError, check_plain

__all__ = [
    "CheckpointError",
    "DamagedCheckpointError",
    "MapLocation",
    "UntrustedCheckpointError",
    "build_arguments",
    "check_plain",
    "read_archive",
    "read_checkpoint",
    "read_state_dict",
    "resolve_class",
    "verify",
]

MAX_BYTES = "COORDCONV_MAX_CHECKPOINT_BYTES"
"""Environment variable that raises the limit on the size of a checkpoint's records."""
DEFAULT_MAX_BYTES = 2**28
SIGNATURE = b"PK\x03\x04"
"""First bytes of the files that ``torch.save`` writes. torch reads files that begin otherwise without check sums."""
LEGACY_SIGNATURE = b"\x80\x02\x8a\n"
"""First bytes of the files that torch wrote before version 1.6, which have no check sums."""
DIRECTORY = 0x10
"""Attribute of a record for which torch, unlike Python, would return memory that was never written."""
END = struct.Struct("<4s4H2LH")
"""The last record of a zip file: signature, four counts, size and position of the directory, length of a comment."""
END_64 = struct.Struct("<4sQ2H2L4Q")
"""The like for large files: signature, its size, versions, disks, two counts, size and position of the directory."""
LOCATOR_64 = struct.Struct("<4sLQL")
"""Record between the two: signature, disk, position of the former, number of disks."""
UNKNOWN = 2**32 - 1
"""What stands in the former for a number that only the latter has."""
MapLocation = Callable[[Any, str], Any] | torch.device | str | None


class CheckpointError(ValueError):
    """A file cannot be read as a checkpoint."""


class DamagedCheckpointError(CheckpointError):
    """The bytes of a checkpoint are not those that were written."""


def verify(source: str | Path | IO[bytes], max_bytes: int | None = None) -> None:
    """Check every byte of a checkpoint against its check sums, which ``torch.load`` does not do.

    Args:
        source: a regular file, or one that is open for reading and can seek.
        max_bytes: largest sum of the sizes of all records after decompression. By default the size of the file, which
            ``torch.save`` never compresses, or 256 MiB if that is more; the environment variable
            ``COORDCONV_MAX_CHECKPOINT_BYTES`` overrides the default.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it is a folder, a pipe or a device, or its records are larger than ``max_bytes``.
        DamagedCheckpointError: if it is truncated, changed, or not written by ``torch.save``.
    """
    with _opened(source) as (file, name):
        _verify(file, name, max_bytes)


def read_archive(source: str | Path | IO[bytes], map_location: MapLocation = "cpu", trust: bool = False) -> Any:
    """Verify a file and return what ``torch.save`` wrote to it: tensors and plain data.

    Args:
        source: see :func:`verify`.
        map_location: where to put tensors, as in ``torch.load``.
        trust: also accept pickled objects of any class, which can run code as they are read.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: see :func:`verify`; and if the file holds anything but tensors and plain data.
    """
    with _opened(source) as (file, name):
        _verify(file, name, None)
        file.seek(0)
        try:
            return torch.load(file, map_location=map_location, weights_only=not trust)
        except Exception as error:  # a file that was made up raises whatever its bytes happen to mean
            reason = (str(error).splitlines() or [type(error).__name__])[0].partition(". ")[0]
            raise CheckpointError(f"{name} is not a checkpoint of tensors and plain data only: {reason}") from error


def read_checkpoint(
    source: str | Path | IO[bytes], map_location: MapLocation = "cpu", trust: bool = False
) -> dict[str, Any]:
    """Verify and read a Lightning checkpoint.

    Args:
        source: see :func:`verify`.
        map_location: where to put tensors, as in ``torch.load``.
        trust: see :func:`read_archive`.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: see :func:`read_archive`; and if it has no ``state_dict`` of tensors.
    """
    checkpoint = read_archive(source, map_location, trust)
    weights = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(weights, Mapping) or not all(isinstance(name, str) for name in weights):
        raise CheckpointError(f"{source} is not a Lightning checkpoint: it has no state_dict")
    return checkpoint


def read_state_dict(source: str | Path | IO[bytes]) -> dict[str, Any]:
    """Verify a file and return the weights in it: a state dict, or the one in a Lightning checkpoint.

    Args:
        source: see :func:`verify`.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: see :func:`read_archive`; and if it holds no state dict.
    """
    content = read_archive(source)
    weights = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(weights, Mapping) or not all(isinstance(name, str) for name in weights):
        raise CheckpointError(f"{source} holds no state dict")
    return weights if isinstance(weights, dict) else dict(weights)  # a copy would lose the metadata of its modules


@contextmanager
def _opened(source: str | Path | IO[bytes]) -> Iterator[tuple[IO[bytes], str]]:
    """Open a regular file, and yield it with its name; what is open already is left open."""
    if not isinstance(source, str | Path):
        if not (hasattr(source, "read") and hasattr(source, "seek")):
            raise CheckpointError(f"a checkpoint must be a path, or a file that is open for reading, got {source!r}")
        yield source, getattr(source, "name", type(source).__name__)
        return
    try:
        descriptor = os.open(source, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no checkpoint at {source}{_near(Path(source))}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CheckpointError(f"{source} is not a regular file, so it cannot be a checkpoint")
    with os.fdopen(descriptor, "rb") as file:
        yield file, str(source)


def _near(path: Path) -> str:
    """Name up to three checkpoints near a path that does not exist, newest first."""
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    found = [file for pattern in ("*.ckpt", "*/*.ckpt", "*/*/*.ckpt") for file in folder.glob(pattern)]
    newest = sorted(found, key=lambda file: file.lstat().st_mtime, reverse=True)
    return "; there are " + ", ".join(map(str, newest[:3])) if newest else ""


def _verify(file: IO[bytes], name: str, max_bytes: int | None) -> None:
    start = file.read(len(SIGNATURE))
    size = file.seek(0, os.SEEK_END)
    if max_bytes is None:
        wanted = os.environ.get(MAX_BYTES)
        if wanted is not None and not wanted.isdecimal():
            raise CheckpointError(f"the environment variable {MAX_BYTES} must be a whole number, got {wanted!r}")
        max_bytes = max(size, DEFAULT_MAX_BYTES) if wanted is None else int(wanted)
    if start == LEGACY_SIGNATURE:
        raise CheckpointError(
            f"{name} was written by torch before version 1.6, without check sums: if you know where it comes from, "
            "write it again with torch.save(torch.load(path, weights_only=True), path)"
        )
    if start != SIGNATURE:
        raise DamagedCheckpointError(f"{name} is damaged, or not a checkpoint that torch.save wrote")
    try:
        _check_directory(file, size, name)
        with zipfile.ZipFile(file) as archive:
            records = archive.infolist()
            total = sum(record.file_size for record in records)
            if total > max_bytes:
                raise CheckpointError(
                    f"{name} is {size} bytes long and inflates to {total}, more than {max_bytes}: "
                    f"set {MAX_BYTES} to raise the limit"
                )
            # torch does not distinguish upper and lower case
            if len({record.filename.casefold() for record in records}) < len(records):
                raise DamagedCheckpointError(f"{name} is damaged: two of its records have the same name")
            for record in records:
                if record.is_dir() or record.external_attr & DIRECTORY:
                    raise DamagedCheckpointError(f"{name} is damaged: its record {record.filename} is a folder")
                with archive.open(record) as content:
                    while content.read(2**20):
                        continue
    except CheckpointError:
        raise
    except Exception as error:  # whatever the damaged bytes happen to mean
        reason = str(error) or type(error).__name__
        raise DamagedCheckpointError(f"{name} is damaged, or not a checkpoint: {reason}") from error


def _check_directory(file: IO[bytes], size: int, name: str) -> None:
    """Check that there is one directory of records, next to the end: torch and Python look for it in different places.

    Raises:
        DamagedCheckpointError: if the end of the file names another place, or something follows it.
        struct.error: if the file is too short.
    """
    end = size - END.size
    signature, *_, length, position, comment = _unpack(END, file, end)
    if signature == b"PK\x05\x06" and comment == 0:
        start = end - LOCATOR_64.size
        locator, _, place, _ = _unpack(LOCATOR_64, file, start) if start >= 0 else (b"", 0, 0, 0)
        if locator == b"PK\x06\x07":
            end = start - END_64.size
            *_, wide_length, wide_position = _unpack(END_64, file, place)
            if place != end or length not in (wide_length, UNKNOWN) or position not in (wide_position, UNKNOWN):
                raise DamagedCheckpointError(
                    f"{name} is damaged, or not a checkpoint: the two ends of its directory differ"
                )
            length, position = wide_length, wide_position
        if position + length == end:
            return
    raise DamagedCheckpointError(
        f"{name} is damaged, or not a checkpoint: its directory of records is not next to its end"
    )


def _unpack(record: struct.Struct, file: IO[bytes], position: int) -> tuple[Any, ...]:
    file.seek(position)
    return record.unpack(file.read(record.size))
