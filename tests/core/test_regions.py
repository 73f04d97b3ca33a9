"""Tests of reading parts of image files: equal to the whole image, only needed bytes if uncompressed, and errors."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2.functional import pil_to_tensor

from lightning_coordconv.core.images import read_rgb
from lightning_coordconv.core.regions import ImageRegions

HEIGHT, WIDTH = 45, 70
PARTS = [
    (slice(0, HEIGHT), slice(0, WIDTH)),
    (slice(3, 20), slice(31, 70)),
    (slice(15, 34), slice(8, 50)),
    (slice(40, 45), slice(0, 5)),
    (slice(20, None), slice(None, 33)),
    (slice(44, 45), slice(69, 70)),
]


def pixels(channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    generator = np.random.default_rng(0)
    return generator.integers(0, np.iinfo(dtype).max, (HEIGHT, WIDTH, channels), dtype, endpoint=True)


def write_tiff(path: Path, values: np.ndarray, tile: int | None = None, strip: int = 7, orientation: int = 1) -> None:
    """Write an uncompressed TIFF file in strips, or in square tiles that are larger than the image at its border."""
    height, width, channels = values.shape
    if tile is None:
        blocks = [values[top : top + strip] for top in range(0, height, strip)]
        layout = {278: strip, 273: None, 279: None}
    else:
        padded = np.pad(values, ((0, -height % tile), (0, -width % tile), (0, 0)))
        corners = [(top, left) for top in range(0, height, tile) for left in range(0, width, tile)]
        blocks = [padded[top : top + tile, left : left + tile] for top, left in corners]
        layout = {322: tile, 323: tile, 324: None, 325: None}
    bits = 8 * values.dtype.itemsize
    fields = {256: [width], 257: [height], 258: [bits] * channels, 259: [1], 262: [2 if channels == 3 else 1]}
    fields |= {274: [orientation], 277: [channels], 284: [1]} | {tag: [number] for tag, number in layout.items()}
    data, offsets = b"", []
    for block in blocks:
        offsets.append(8 + len(data))
        data += block.tobytes()
    for tag in (273, 324):
        fields |= {tag: offsets} if tag in layout else {}
    for tag in (279, 325):
        fields |= {tag: [block.nbytes for block in blocks]} if tag in layout else {}
    directory, beyond = b"", b""
    start = 8 + len(data) + 2 + 12 * len(fields) + 4
    for tag, numbers in sorted(fields.items()):
        packed = struct.pack(f"<{len(numbers)}I", *numbers)
        place = packed if len(numbers) == 1 else struct.pack("<I", start + len(beyond))
        beyond += b"" if len(numbers) == 1 else packed
        directory += struct.pack("<HHI", tag, 4, len(numbers)) + place
    head = struct.pack("<2sHI", b"II", 42, 8 + len(data))
    path.write_bytes(head + data + struct.pack("<H", len(fields)) + directory + struct.pack("<I", 0) + beyond)


def check(path: Path, mapped: bool) -> None:
    whole, regions = pil_to_tensor(read_rgb(path)), ImageRegions(path)
    assert regions.shape == tuple(whole.shape)
    for rows, columns in PARTS:
        part = regions[:, rows, columns]
        assert part.dtype == torch.uint8
        assert torch.equal(part, whole[:, rows, columns])
    path.unlink()  # what is decoded needs the file no longer; what is mapped does
    if mapped:
        with pytest.raises(FileNotFoundError):
            regions[:, :4, :4]
    else:
        assert torch.equal(regions[:, :4, :4], whole[:, :4, :4])


@pytest.mark.parametrize(
    "options", [{}, {"strip": 1}, {"strip": 45}, {"tile": 16}, {"tile": 32}, {"tile": 128}], ids=str
)
@pytest.mark.parametrize(("channels", "dtype"), [(3, np.uint8), (1, np.uint8), (1, np.uint16)])
def test_of_an_uncompressed_tiff_only_the_part_is_read(tmp_path, channels, dtype, options):
    write_tiff(tmp_path / "image.tif", pixels(channels, dtype), **options)
    check(tmp_path / "image.tif", mapped=True)


@pytest.mark.parametrize("name", ["rgb.ppm", "grey.pgm", "rgb.tif", "big.tif"])
def test_of_what_pillow_writes_uncompressed_only_the_part_is_read(tmp_path, name):
    image = Image.fromarray(pixels()).convert("L" if name.startswith("grey") else "RGB")
    image.save(tmp_path / name, **({"big_tiff": True} if name.startswith("big") else {}))
    check(tmp_path / name, mapped=True)


@pytest.mark.parametrize(
    ("suffix", "mode", "options"),
    [
        (".png", "RGB", {}),
        (".png", "L", {}),
        (".png", "LA", {}),
        (".png", "RGBA", {}),
        (".png", "1", {}),
        (".png", "P", {}),
        (".png", "P", {"transparency": b"\x00\x80"}),
        (".png", "I;16", {}),
        (".jpg", "RGB", {}),
        (".jpg", "CMYK", {}),
        (".bmp", "RGB", {}),
        (".webp", "RGB", {}),
        (".tif", "RGBA", {}),
        (".tif", "RGB", {"compression": "tiff_lzw"}),
        (".tif", "RGB", {"compression": "jpeg"}),
    ],
)
def test_parts_of_other_formats_are_those_of_the_decoded_image(tmp_path, suffix, mode, options):
    deep = mode == "I;16"
    image = Image.fromarray(pixels(1, np.uint16)[..., 0]) if deep else Image.fromarray(pixels()).convert(mode)
    image.save(tmp_path / f"image{suffix}", **options)
    check(tmp_path / f"image{suffix}", mapped=False)


def test_grey_maps_of_16_bits_are_scaled(tmp_path):
    values = pixels(1, np.uint16).astype(">u2")
    (tmp_path / "image.pgm").write_bytes(f"P5\n{WIDTH} {HEIGHT}\n65535\n".encode() + values.tobytes())
    check(tmp_path / "image.pgm", mapped=False)


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_images_are_turned_upright(tmp_path, suffix, orientation):
    path = tmp_path / f"image{suffix}"
    if suffix == ".tif":
        write_tiff(path, pixels(), orientation=orientation)
    else:
        exif = Image.Exif()
        exif[274] = orientation
        Image.fromarray(pixels()).save(path, exif=exif)
    whole, regions = pil_to_tensor(read_rgb(path)), ImageRegions(path)
    assert regions.shape == tuple(whole.shape) == ((3, WIDTH, HEIGHT) if orientation >= 5 else (3, HEIGHT, WIDTH))
    assert torch.equal(regions[:, 5:30, 7:40], whole[:, 5:30, 7:40])


@pytest.mark.parametrize("kind", ["missing", "text", "truncated png", "truncated tif", "truncated ppm", "float"])
def test_files_that_are_no_whole_image_are_named(tmp_path, kind):
    path = tmp_path / f"image.{kind.split()[-1]}"
    if kind == "text":
        path.write_text("no image")
    elif kind == "float":
        Image.fromarray(np.ones((5, 6), np.float32)).save(path, "TIFF")
    elif kind != "missing":
        if path.suffix == ".tif":
            write_tiff(path, pixels())  # whose second strip is then said to lie behind the end of the file
            second = struct.pack("<I", 8 + 7 * WIDTH * 3)
            head, tail = path.read_bytes()[: 8 + pixels().nbytes], path.read_bytes()[8 + pixels().nbytes :]
            path.write_bytes(head + tail.replace(second, struct.pack("<I", 2**30), 1))
        else:
            Image.fromarray(pixels()).save(path)
            path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(OSError, match=rf"{path.name} cannot be read as an image: "):
        ImageRegions(path)[:, :9, :9]
