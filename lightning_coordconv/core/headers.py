"""Functions that look at the headers of image files: which are turned by EXIF, and what of a file is not read."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL.TiffImagePlugin import BITSPERSAMPLE, SAMPLESPERPIXEL
from pytorch_lightning.utilities import rank_zero_info

from lightning_coordconv.core.counts import listed
from lightning_coordconv.core.images import SIXTEEN_BIT, orientation_of, reading
from lightning_coordconv.core.survey import NAMED, spread

LOOKED_AT = 10_000
"""Number of files that are looked at where nothing but remarks depends on it."""
SIXTEEN_BIT_ARGUMENTS = (";16B", "65535")
"""Arguments of Pillow's decoders of PNG and PPM files whose values run from 0 to 65,535."""


@dataclass(frozen=True)
class Headers:
    """What the headers of image files say.

    Attributes:
        turned: the files that an EXIF orientation turns or mirrors.
        remarks: a line on each kind of content that :func:`~lightning_coordconv.core.images.read_rgb` does not return.
    """

    turned: list[Path]
    remarks: list[str]


def read_headers(paths: Iterable[Path], root: Path | None = None) -> Headers:
    """Read the headers of image files: those of 10,000 JPEG files in 1 to 2 s, once the system has them in memory.

    Args:
        paths: the files; those that cannot be read are left out, and reported where their pixels are.
        root: see :func:`~lightning_coordconv.core.images.read_rgb`.
    """
    turned: list[Path] = []
    found: dict[str, list[Path]] = {kind: [] for kind in NOT_READ}
    for path in paths:
        with suppress(OSError), reading(path, root) as file:
            kinds = [kind for kind, (is_one, _) in NOT_READ.items() if is_one(file)]
            turned += [path] if orientation_of(file) != 1 else []  # last: it may decode the file
            for kind in kinds:
                found[kind].append(path)
    remarks = [f"{listed(kind, some, NAMED)}; {NOT_READ[kind][1]}" for kind, some in found.items() if some]
    return Headers(turned, remarks)


def report_headers(paths: Sequence[Path]) -> None:
    """Log the remarks of :func:`read_headers` on some files, evenly spread if there are more than 10,000."""
    some = [paths[number] for number in spread(len(paths), LOOKED_AT)]
    part = f"{len(some)} of {len(paths)} image files were looked at: " if len(some) < len(paths) else ""
    for line in read_headers(some).remarks:
        rank_zero_info(f"{part}{line}")


def _has_several_frames(file: Any) -> bool:
    """Tell whether there is a second frame or page, without counting them.

    Photographs in MPO files, which many telephones write with the ending of JPEG, do not count: what follows the first
    is a preview of it, its depth or its brightness.
    """
    return file.format != "MPO" and getattr(file, "is_animated", False)


def _is_sixteen_bit(file: Any) -> bool:
    if file.format == "TIFF":
        return 16 in file.tag_v2.get(BITSPERSAMPLE, ())
    arguments = str([tile.args for tile in file.tile[:1]]) if file.format in ("PNG", "PPM") else ""
    return file.mode in SIXTEEN_BIT or any(argument in arguments for argument in SIXTEEN_BIT_ARGUMENTS)


def _has_further_bands(file: Any) -> bool:
    return file.format == "TIFF" and file.tag_v2.get(SAMPLESPERPIXEL, 1) > len(file.getbands())


NOT_READ: dict[str, tuple[Callable[[Any], bool], str]] = {
    "images with an alpha channel or transparency": (lambda file: file.has_transparency_data, "it is left out"),
    "files with several frames or pages": (_has_several_frames, "the first is used"),
    "files of 16 bits a value": (
        _is_sixteen_bit,
        "their values 0 to 65,535 become 0 to 255, so smaller ranges must be stretched before",
    ),
    "files with bands beyond those of their colours": (_has_further_bands, "these bands are left out"),
}
"""Content of files that is not read: its kind, how the header of an open file tells it, and what becomes of it."""
