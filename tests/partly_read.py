"""Functions that write image files of which a part of the content is not read, by the kind of that content."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

SIZE = (12, 8)
GREY = np.arange(96, dtype=np.uint16).reshape(SIZE[::-1])


def saved(image: Image.Image, suffix: str, *others: Image.Image, **options: object) -> bytes:
    content = io.BytesIO()
    more = {"save_all": True, "append_images": others} if others else {}
    image.save(content, suffix, **more, **options)
    return content.getvalue()


def plain(mode: str = "RGB", value: int = 0) -> Image.Image:
    return Image.new(mode, SIZE, value)


def png_of_48_bits() -> bytes:
    """Pillow writes none."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + bytes(6 * SIZE[0]) for _ in range(SIZE[1]))
    header = struct.pack(">IIBBBBB", *SIZE, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff(bits: int, bands: int) -> bytes:
    """Return an RGB file of as many bits a value, whose further bands have no meaning that the file says."""
    pixels = bytes(SIZE[0] * SIZE[1] * bands * bits // 8)
    depths = struct.pack(f"<{bands}H", *[bits] * bands)
    unknown = [0] * (bands - 3)
    tags = {256: [SIZE[0]], 257: [SIZE[1]], 259: [1], 262: [2], 273: [8], 277: [bands], 278: [SIZE[1]]}
    entries = [(tag, 4, 1, struct.pack("<I", value[0])) for tag, value in tags.items()]
    entries += [(258, 3, bands, struct.pack("<I", 8 + len(pixels))), (279, 4, 1, struct.pack("<I", len(pixels)))]
    entries += [(338, 3, len(unknown), struct.pack("<2H", *unknown, *[0] * (2 - len(unknown))))] if unknown else []
    directory = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in sorted(entries))
    start = 8 + len(pixels) + len(depths)
    return (
        b"II*\0" + struct.pack("<I", start) + pixels + depths + struct.pack("<H", len(entries)) + directory + bytes(4)
    )


ALPHA = "images with an alpha channel or transparency"
FRAMES = "files with several frames or pages"
SIXTEEN = "files of 16 bits a value"
BANDS = "files with bands beyond those of their colours"
PARTLY_READ: dict[str, dict[str, Callable[[], bytes]]] = {
    ALPHA: {
        "RGBA.png": lambda: saved(plain("RGBA"), "PNG"),
        "LA.png": lambda: saved(plain("LA"), "PNG"),
        "palette.png": lambda: saved(plain("P"), "PNG", transparency=0),
        "colour.png": lambda: saved(plain(), "PNG", transparency=(0, 0, 0)),
        "RGBA.webp": lambda: saved(plain("RGBA"), "WEBP", lossless=True),
        "RGBA.tif": lambda: saved(plain("RGBA"), "TIFF"),
    },
    FRAMES: {
        "pages.tif": lambda: saved(plain(), "TIFF", plain()),
        "frames.gif": lambda: saved(plain("L"), "GIF", plain("L", 90), plain("L", 200)),
        "frames.webp": lambda: saved(plain(), "WEBP", plain(value=200)),
        "frames.png": lambda: saved(plain(), "PNG", plain(value=200)),
    },
    SIXTEEN: {
        "grey.png": lambda: saved(Image.fromarray(GREY), "PNG"),
        "grey.tif": lambda: saved(Image.fromarray(GREY), "TIFF"),
        "grey.pgm": lambda: b"P5\n12 8\n65535\n" + GREY.tobytes(),
        "RGB.ppm": lambda: b"P6\n12 8\n65535\n" + bytes(6 * GREY.size),
        "RGB.png": png_of_48_bits,
        "RGB.tif": lambda: tiff(16, 3),
    },
    BANDS: {"four.tif": lambda: tiff(8, 4), "five.tif": lambda: tiff(8, 5)},
}  # fmt: skip
"""Contents of files by the kind of their content that is not read."""
