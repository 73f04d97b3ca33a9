"""Class that reads rectangular parts of an image file, so that a large image is processed part by part."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from lightning_coordconv.core.images import WITHOUT_SCALE, check_scale, orientation_of, reading, to_rgb

UNCOMPRESSED = {"L": "u1", "RGB": "u1", "I;16": "<u2", "I;16B": ">u2"}
"""numpy's type of the numbers in uncompressed files by Pillow's mode."""
RAW = "raw"
"""Pillow's decoder of uncompressed pixels."""


class ImageRegions:
    """The pixels of an image file, of which only the part that is asked for becomes a tensor.

    Of a TIFF or PPM file with uncompressed pixels, in strips, tiles or one block, only that part is read. Other
    formats, such as PNG and JPEG, are decoded whole, and kept as Pillow keeps them: with 4 bytes a pixel for RGB, and 1
    for palettes and grey images of 8 bits.

    ``regions[:, rows, columns]`` is that part of what :func:`~lightning_coordconv.core.images.read_rgb` returns: uint8,
    (3, h, w), for two slices without steps.

    Args:
        path: the file.

    Attributes:
        shape: (3, H, W).
        device: of the parts, the CPU.

    Raises:
        OSError: naming the file, for what :func:`~lightning_coordconv.core.images.read_rgb` refuses.
    """

    device = torch.device("cpu")

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self._decoded: Image.Image | None = None
        with reading(path) as file:
            check_scale(file)
            self._blocks = _uncompressed(file, Path(path).stat().st_size)
            width, height = file.size
            if not self._blocks:
                self._decoded = _decoded(file)
                width, height = self._decoded.size
        self.shape = (3, height, width)

    def __getitem__(self, index: tuple[slice, slice, slice]) -> Tensor:
        channels, rows, columns = index
        top, bottom, _ = rows.indices(self.shape[1])
        left, right, _ = columns.indices(self.shape[2])
        box = (left, top, right, bottom)
        part = self._read(box) if self._decoded is None else self._decoded.crop(box)
        return pil_to_tensor(to_rgb(part, upright=False))[channels]

    def _read(self, box: tuple[int, int, int, int]) -> Image.Image:
        """Read a box (left, top, right, bottom) from the blocks of the file that it meets."""
        left, top, right, bottom = box
        first = self._blocks[0]
        found = np.empty((bottom - top, right - left, *first.shape[2:]), np.dtype(first.dtype).newbyteorder("="))
        for block in self._blocks:
            x, y = max(left, block.left), max(top, block.top)
            end_x, end_y = min(right, block.left + block.width), min(bottom, block.top + block.shape[0])
            if x < end_x and y < end_y:
                values = np.memmap(self._path, block.dtype, "r", block.offset, block.shape)
                inside = values[y - block.top : end_y - block.top, x - block.left : end_x - block.left]
                found[y - top : end_y - top, x - left : end_x - left] = inside
        return Image.fromarray(found)


class _Block(NamedTuple):
    """A strip or tile of uncompressed pixels.

    Attributes:
        left: column of its first pixel.
        top: row of its first pixel.
        width: number of its columns that are in the image; the file may hold more.
        offset: its place in the file, in bytes.
        dtype: of its numbers, as numpy names it.
        shape: of its numbers in the file.
    """

    left: int
    top: int
    width: int
    offset: int
    dtype: str
    shape: tuple[int, ...]


def _uncompressed(file: Image.Image, file_size: int) -> list[_Block]:
    """Return the blocks of a file that is uncompressed and upright, and has a known order of its numbers; else none.

    Raises:
        OSError: if the file is too short.
    """
    dtype = UNCOMPRESSED.get(file.mode)
    if dtype is None:
        return []
    numbers = len(file.getbands())
    blocks = []
    for decoder, (left, top, right, bottom), offset, arguments in getattr(file, "tile", ()):
        if decoder != RAW:
            return []
        raw_mode, stride, direction = (arguments, 0, 1) if isinstance(arguments, str) else arguments
        if raw_mode != file.mode or direction != 1:
            return []
        columns = stride // (numbers * np.dtype(dtype).itemsize) or right - left
        shape = (bottom - top, columns, numbers)[: 3 if numbers > 1 else 2]
        if offset + math.prod(shape) * np.dtype(dtype).itemsize > file_size:
            raise OSError("the file is truncated")
        blocks.append(_Block(left, top, right - left, offset, dtype, shape))
    return blocks if orientation_of(file) == 1 else []


def _decoded(file: Image.Image) -> Image.Image:
    """Decode a whole file, and turn it upright. Its mode stays: pixels are converted part by part."""
    if file.mode in WITHOUT_SCALE:
        return to_rgb(file)
    file.load()
    ImageOps.exif_transpose(file, in_place=True)
    return file
