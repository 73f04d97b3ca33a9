"""Tests of mask files: formats, orientation, frames, and files that are refused."""

import os
import struct
import zlib
from functools import partial

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageOps
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION

from lightning_coordconv.segmentation.mask_files import read_mask
from tests.segmentation.masks import VALUES, dataset, save


@pytest.mark.parametrize("kind", ["8 bit", "16 bit", "palette", "one bit"])
def test_formats(pair, kind):
    expected = VALUES
    mask = Image.fromarray(VALUES.astype(np.uint8))
    if kind == "16 bit":
        mask = Image.fromarray(VALUES.astype(np.uint16))
    elif kind == "palette":
        mask.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    elif kind == "one bit":
        expected = VALUES > 0
        mask = Image.fromarray(expected)
    save(pair, mask)
    sample = dataset(pair)[0]
    assert sample["mask"].dtype == torch.int64
    assert torch.equal(sample["mask"], torch.from_numpy(expected.astype(np.int64)))
    assert sample["image"].shape == (3, 10, 12)
    assert (sample["origin"], sample["size"]) == ((0, 0), (10, 12))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16])
def test_masks_in_which_zero_is_white_are_refused(pair, dtype):
    """Pillow inverts those of up to 8 bits: class 0 would be 255, which is no class."""
    save(pair, (VALUES > 0).astype(dtype), "a.tif", tiffinfo={PHOTOMETRIC_INTERPRETATION: 0})
    with pytest.raises(OSError, match=r"a.tif cannot be read as a mask: its values count from white to black"):
        dataset(pair)[0]


def grey_png(values: np.ndarray, bits: int) -> bytes:
    """Return a grey PNG file of 1, 2 or 4 bits a pixel, which Pillow does not write."""
    height, width = values.shape
    spread = (values[..., None].astype(np.uint8) >> np.arange(bits)[::-1]) & 1
    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(spread.reshape(height, -1), axis=1))
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(rows), b"IEND": b""}
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks.items()
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def pgm(values: np.ndarray, most: int) -> bytes:
    """Return a PGM file whose white is a value of its own."""
    height, width = values.shape
    return b"P5 %d %d %d\n" % (width, height, most) + values.astype(">u2" if most > 255 else np.uint8).tobytes()


def plain_pgm(values: np.ndarray, most: int) -> bytes:
    height, width = values.shape
    return f"P2 {width} {height} {most}\n{' '.join(map(str, values.ravel()))}\n".encode()


def values_up_to(most: int) -> np.ndarray:
    return np.arange(120).reshape(10, 12) * most // 119


@pytest.mark.parametrize(
    ("name", "content", "most"),
    [("a.png", partial(grey_png, bits=bits), 2**bits - 1) for bits in (1, 2, 4)]
    + [("a.pgm", partial(pgm, most=most), most) for most in (1, 2, 3, 20, 200, 254, 255, 256, 1000, 65535)]
    + [("a.pgm", partial(plain_pgm, most=most), most) for most in (1, 3, 20, 1000)],
)
def test_grey_values_are_classes_whatever_value_is_white(pair, name, content, most):
    values = values_up_to(most)
    (pair / "masks" / name).write_bytes(content(values))
    assert read_mask(pair / "masks" / name, most + 1, -1).tolist() == values.tolist()


@pytest.mark.parametrize("content", [b"P1 3 1 0 1 1", b"P4 3 1 \x60"])
def test_bitmaps_in_which_one_is_black_are_refused(pair, content):
    (pair / "masks" / "a.pbm").write_bytes(content)
    with pytest.raises(OSError, match=r"a.pbm cannot be read as a mask: its values count from white to black .*PBM"):
        read_mask(pair / "masks" / "a.pbm", 2, -1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_masks_are_turned_as_their_images_are(tmp_path, orientation, kind, caplog):
    stored = np.arange(100).reshape(10, 10) % 3
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    grey = Image.fromarray((stored * 100).astype(np.uint8))
    grey.save(tmp_path / "images" / "a.png", exif=exif)
    save(tmp_path, stored.astype(kind), exif=exif)
    sample = dataset(tmp_path)[0]
    shown = sample["image"][0]
    assert [len(shown[sample["mask"] == label].unique()) for label in range(3)] == [1, 1, 1]
    upright = np.array(ImageOps.exif_transpose(Image.open(tmp_path / "images" / "a.png")))
    assert torch.equal(sample["mask"], torch.from_numpy(upright // 100).long())
    save(tmp_path, stored.astype(kind))
    with caplog.at_level("INFO"):
        dataset(tmp_path)
    reported = "images turned by their EXIF orientation, unlike their masks (1): "
    assert (reported in caplog.text) == (orientation > 1)


def test_all_images_that_are_turned_unlike_their_masks_are_counted(tmp_path, caplog):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    unlike, alike = (1, 3, 8, 11, 24, 38), (4, 20)
    for number in range(40):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6 if number in (*unlike, *alike) else 1
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / f"{number:02}.png", exif=exif)
        save(tmp_path, np.eye(8, dtype=np.uint8), f"{number:02}.png", **({"exif": exif} if number in alike else {}))
    with caplog.at_level("INFO"):
        dataset(tmp_path)
    named = ", ".join(f"{tmp_path}/images/{number:02}.png" for number in unlike[:5])
    line = f"images turned by their EXIF orientation, unlike their masks (6): {named} and 1 more; masks are taken to be"
    assert line in caplog.text


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((10, 11), np.uint8), r"a.png has size \(10, 11\), but its image .*a.jpg has size \(10, 12\)"),
        (np.full((10, 12), 7, np.uint8), r"a.png has the values 7, which are neither classes \(0 to 2\)"),
        (np.full((10, 12), 300, np.uint16), "a.png has the values 300"),
        (np.full((10, 12), 255, np.uint8), "a.png has no pixel of a class"),
        (np.zeros((10, 12, 3), np.uint8), "a.png is an image of mode 'RGB'"),
        (np.zeros((10, 12), np.float32), "a.tif is an image of mode 'F'"),
    ],
)
def test_wrong_masks_are_named(pair, mask, message):
    save(pair, mask, "a.tif" if mask.dtype == np.float32 else "a.png")
    with pytest.raises(ValueError, match=message):
        dataset(pair)[0]


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_masks_of_several_frames_are_refused(pair, suffix):
    """Such as a stack with a frame for each class, of which Pillow shows the first."""
    frames = [Image.fromarray((np.arange(120).reshape(10, 12) % 3 == label).astype(np.uint8)) for label in range(3)]
    frames[0].save(pair / "masks" / f"a.{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=rf"a\.{suffix} has 3 frames; a mask has one"):
        dataset(pair)[0]


def test_an_overview_is_no_other_frame_of_a_mask(pair):
    values = np.arange(120, dtype=np.uint8).reshape(10, 12) % 3
    overview = Image.fromarray(values[::2, ::2])
    Image.fromarray(values).save(pair / "masks" / "a.tif", save_all=True, append_images=[overview])
    assert read_mask(pair / "masks" / "a.tif", 3, -1).tolist() == values.tolist()


@pytest.mark.parametrize("suffix", ["jpg", "jfif", "webp", "avif", "jp2", "JPEG"])
def test_lossy_masks_are_refused_before_anything_is_read(pair, suffix):
    (pair / "masks" / f"a.{suffix}").write_bytes(b"")
    with pytest.raises(ValueError, match=rf"a\.{suffix} is a mask in a lossy format"):
        dataset(pair)


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("a.tif", {"compression": "jpeg"}, "JPEG"),
        ("a.png", {"format": "JPEG"}, "JPEG"),
        ("a.png", {"format": "WEBP"}, "WEBP"),
    ],
)
def test_lossy_masks_are_refused_whatever_their_ending(pair, name, options, kind):
    """A mask of one class: no value between classes betrays it."""
    save(pair, np.ones((10, 12), np.uint8), name, **options)
    with pytest.raises(ValueError, match=rf"{name} is a mask in a lossy format \({kind}\)"):
        dataset(pair)[0]


def test_missing_and_damaged_masks_are_named(pair):
    with pytest.raises(FileNotFoundError, match=r"a\.jpg has no mask"):
        dataset(pair)
    (pair / "masks" / "a.png").write_bytes(b"no image")
    with pytest.raises(OSError, match=r"a\.png cannot be read as a mask"):
        dataset(pair)[0]


def test_masks_are_opened_by_the_rules_of_images(pair, monkeypatch):
    """A format for which Pillow runs a program, a pipe that nobody writes to, and a mask of too many pixels."""
    mask = pair / "masks" / "a.png"
    mask.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 12 10\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(OSError, match=r"a\.png cannot be read as a mask: it is a file of the format EPS"):
        read_mask(mask, 3, 255)
    mask.unlink()
    os.mkfifo(mask)
    with pytest.raises(OSError, match=r"a\.png cannot be read as a mask: it is no regular file"):
        read_mask(mask, 3, 255)
    mask.unlink()
    save(pair, VALUES.astype(np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    monkeypatch.setenv("COORDCONV_MAX_IMAGE_PIXELS", "119")
    with pytest.raises(OSError, match=r"a\.png cannot be read as a mask: .* limit .* 119"):
        read_mask(mask, 3, 255)
