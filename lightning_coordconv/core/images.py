"""Functions that read an image file's size, EXIF orientation and RGB pixels, and refuse unusable files."""

import math
import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION

LIMIT = "COORDCONV_MAX_IMAGE_PIXELS"
"""Environment variable with the largest number of pixels that an image may have."""
FORMATS = {"AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP"}
"""Formats that are read, by Pillow's names. Pillow would run a program to read some others, such as EPS."""
SIGNATURE_LENGTH = 8
"""Bytes before the first chunk of a PNG file."""
METADATA = (b"eXIf", b"iTXt", b"tEXt", b"zTXt")
"""Chunks of PNG files that can hold an orientation."""
SIXTEEN_BIT = {"I;16", "I;16L", "I;16B", "I;16N"}
"""Pillow's modes of grey images whose values run from 0 to 65,535."""
WITHOUT_SCALE = {"I": "32-bit integers", "F": "floating-point numbers"}
"""Pillow's modes of images that do not say which value is white."""
WHITE_IS_ZERO = 0
"""Value of the tag ``PhotometricInterpretation`` of TIFF files whose values fall from black to white."""


def read_rgb(path: str | Path, root: str | Path | None = None, *, upright: bool = True) -> Image.Image:
    """Read an image file as RGB, 8 bits a channel.

    Images of 16 bits are scaled from 65,535 to 255; palettes, CMYK and YCbCr are converted; transparency and bands
    beyond the colours are left out. Of files with several frames the first is read.

    Args:
        path: the file.
        root: a folder that the file must be in, after links have been followed; anywhere by default.
        upright: turn the image as its EXIF orientation says. Pillow turns TIFF files in any case.

    Raises:
        OSError: naming the file, if it is missing, no regular file, outside of ``root``, no image or a damaged one, if
            its values have no known scale (see :func:`check_scale`), or it has more pixels than allowed:
            Pillow's ``MAX_IMAGE_PIXELS``, 89 million, or the environment variable ``COORDCONV_MAX_IMAGE_PIXELS``.
    """
    with reading(path, root) as file:
        return to_rgb(file, upright=upright)


def read_size(path: str | Path, root: str | Path | None = None, *, upright: bool = True) -> tuple[int, int]:
    """Return width and height of an image file.

    Only its header is read, and the pixels of PNG files whose metadata follow them.

    Args:
        path: see :func:`read_rgb` for this and the following.
        root: the same.
        upright: of the image turned as its EXIF orientation says.

    Raises:
        OSError: as :func:`read_rgb`, except for damage behind the header.
    """
    with reading(path, root) as file:
        turned = upright and file.format != "TIFF" and orientation_of(file) >= 5  # Pillow turns TIFF itself
        return (file.height, file.width) if turned else file.size


def to_rgb(image: Image.Image, *, upright: bool = True) -> Image.Image:
    """Convert a Pillow image to RGB, 8 bits a channel, and turn it upright, as :func:`read_rgb` does.

    Raises:
        ValueError: see :func:`check_scale`.
    """
    check_scale(image)
    _do_not_map(image)
    image = ImageOps.exif_transpose(image) if upright else image
    if image.mode in SIXTEEN_BIT or image.mode == "I":
        values = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("P", "PA"):  # Pillow warns where it would drop the transparency of a palette
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


def check_scale(image: Image.Image) -> None:
    """Refuse an image whose values cannot be scaled from black to white.

    Raises:
        ValueError: if it holds 32-bit integers or floating-point numbers, of which the value of white is unknown; or if
            it is a TIFF file of 16 bits in which 0 is white, which Pillow, unlike those of 8 bits, does not invert, or
            of 9 to 15 bits, which Pillow reads without a scale.
    """
    ppm = image.format == "PPM"  # whose mode I runs to 65,535
    if image.mode in WITHOUT_SCALE and not ppm:
        raise ValueError(
            f"it holds {WITHOUT_SCALE[image.mode]}, of which the value of white is unknown; save it with 8 or 16 bits"
        )
    bits = getattr(image, "tag_v2", {}).get(BITSPERSAMPLE, (16,))
    if image.mode in SIXTEEN_BIT and bits != (16,):
        raise ValueError(f"its values have {bits[0]} bits; save it with 8 or 16 bits, so that white is 255 or 65,535")
    if image.mode in SIXTEEN_BIT and is_white_zero(image):
        raise ValueError("its 16-bit values are 0 in white pixels (WhiteIsZero); save it with 0 as black")


def is_white_zero(image: Image.Image) -> bool:
    """Return whether 0 is white in the file of an image, a TIFF or PBM file; Pillow inverts those of up to 8 bits."""
    is_bitmap = image.format == "PPM" and image.mode == "1"
    return is_bitmap or getattr(image, "tag_v2", {}).get(PHOTOMETRIC_INTERPRETATION) == WHITE_IS_ZERO


@contextmanager
def open_image(source: str | Path | IO[bytes], root: str | Path | None = None) -> Iterator[Image.Image]:
    """Return a context in which an image is open. Everything that reads an image opens it here.

    Args:
        source: a file, or the bytes of one.
        root: a folder that the file must be in, after links have been followed; anywhere by default.

    Raises:
        Exception: of many kinds, for what :func:`read_rgb` refuses, without the name of the file.
    """
    if isinstance(source, str | Path):
        _check_path(Path(source), root)
    limit = _largest_image()
    try:
        opened = Image.open(source)
    except UnidentifiedImageError as error:
        raise ValueError("it is no image of a known format") from error
    except Image.DecompressionBombError as error:  # Pillow's own limit is twice as high, and it does not say the size
        raise _too_large(int(re.findall(r"\d+", str(error))[0]), limit) from error
    with opened as file:
        _check_content(file, limit)
        _do_not_map(file)
        yield file


def _do_not_map(image: Any) -> None:
    """Let Pillow decode a TIFF file whose pixels lie on their side: mapped, they become rows of the upright width."""
    if image.format == "TIFF" and orientation_of(image) >= 5:
        image.filename = ""


def orientation_of(file: Image.Image) -> int:
    """Return the EXIF orientation of an open file, 1 for an upright one.

    Only its header is read, and the pixels of PNG files whose metadata follow them.
    """
    if file.format == "PNG" and _has_late_metadata(file):
        file.load()
    exif = Image.Image.getexif(file)  # the method of PNG files would decode the whole file
    found = int(exif.get(ExifTags.Base.Orientation, 1))
    return found if found in range(1, 9) else 1  # cameras write 0 for unknown


def _has_late_metadata(file: Any) -> bool:
    """Tell whether metadata follow the pixels of a PNG file, where Pillow finds them only when it decodes the file."""
    place, pixels = file.fp.tell(), False
    file.fp.seek(SIGNATURE_LENGTH)
    try:
        while len(header := file.fp.read(8)) == 8:
            length, kind = struct.unpack(">I4s", header)
            if pixels and kind in METADATA:
                return True
            pixels |= kind == b"IDAT"
            file.fp.seek(length + 4, os.SEEK_CUR)  # behind its check sum
        return False
    finally:
        file.fp.seek(place)


@contextmanager
def reading(path: str | Path, root: str | Path | None = None) -> Iterator[Image.Image]:
    """Return a context in which an image file is open, and whose errors name the file."""
    try:
        with open_image(path, root) as file:
            yield file
    except Exception as error:  # of damaged files Pillow also raises SyntaxError, ValueError, DecompressionBombError
        raise OSError(f"{path} cannot be read as an image: {error}; replace or remove it") from error


def _check_path(path: Path, root: str | Path | None) -> None:
    if root is not None and not path.resolve().is_relative_to(Path(root).resolve()):
        raise OSError(f"it is outside of the folder {root}, or a link that leads out of it")
    if not path.is_file():  # Pillow would wait for ever for the other end of a named pipe
        raise OSError("it is no regular file" if os.path.lexists(path) else "there is no such file")


def _check_content(file: Image.Image, limit: int) -> None:
    """Refuse what must not be decoded, by the header of a file."""
    pixels = math.prod(file.size)
    if pixels > limit:
        raise _too_large(pixels, limit)
    if file.format not in FORMATS:
        raise ValueError(f"it is a file of the format {file.format}, and those that are read are {sorted(FORMATS)}")


def _too_large(pixels: int, limit: int) -> ValueError:
    return ValueError(
        f"it has {pixels} pixels, and the limit is {limit}; to raise it, set the environment variable {LIMIT} to "
        f"{pixels} or more"
    )


def _largest_image() -> int:
    """Return how many pixels an image may have, and let Pillow allow as many.

    Raises:
        ValueError: if the environment variable is no positive whole number.
    """
    wanted = os.environ.get(LIMIT)
    if wanted is None:
        return Image.MAX_IMAGE_PIXELS or 2**63  # a program can lift Pillow's limit by setting it to None
    if not wanted.isdecimal() or int(wanted) < 1:
        raise ValueError(f"{LIMIT} must be a positive whole number, got {wanted!r}")
    Image.MAX_IMAGE_PIXELS = int(wanted)
    return int(wanted)
