"""Tests of reading image files: value ranges, modes, orientation, size limits, links, and refused files."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION

from lightning_coordconv.core.headers import read_headers
from lightning_coordconv.core.image_search import find_images
from lightning_coordconv.core.images import LIMIT, read_rgb, read_size, to_rgb
from lightning_coordconv.core.regions import ImageRegions
from tests.photographs import noise

RAMP = np.linspace(0, 65_535, 64 * 48).reshape(48, 64).round()
"""Grey values of a picture, in 16 bits."""
EXPECTED = (RAMP / 257).round().astype(np.uint8)


def png_of_zeros(path: Path, width: int, height: int) -> Path:
    """Write a black PNG that decodes to far more than it holds."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = zlib.compressobj(9)
    row = bytes(1 + width)
    data = b"".join(rows.compress(row) for _ in range(height)) + rows.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("name", ["little.png", "little.tif", "big.tif", "sixteen.jp2", "sixteen.pgm"])
def test_sixteen_bits_are_scaled_to_eight(tmp_path, name):
    values = RAMP.astype(">u2" if name == "big.tif" else np.uint16)
    if name.endswith("pgm"):
        (tmp_path / name).write_bytes(b"P5\n64 48\n65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(tmp_path / name)
    seen = np.asarray(read_rgb(tmp_path / name))
    assert seen.shape == (48, 64, 3)
    assert np.abs(seen.astype(int) - EXPECTED[..., None]).max() == 0


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_values_without_a_scale_are_refused(tmp_path, kind):
    Image.fromarray((RAMP / 65_535).astype(kind)).save(tmp_path / "a.tif")
    with pytest.raises(
        OSError, match=r"a.tif cannot be read as an image: it holds .*, of which the value of white is unknown"
    ):
        read_rgb(tmp_path / "a.tif")


def test_sixteen_bits_in_which_zero_is_white_are_refused(tmp_path):
    """Pillow inverts such TIFF files of 8 bits, and not those of 16."""
    white_is_zero = {PHOTOMETRIC_INTERPRETATION: 0}
    Image.fromarray(EXPECTED).save(tmp_path / "8.tif", tiffinfo=white_is_zero)
    Image.fromarray(RAMP.astype(np.uint16)).save(tmp_path / "16.tif", tiffinfo=white_is_zero)
    assert np.array_equal(np.asarray(read_rgb(tmp_path / "8.tif"))[..., 0], EXPECTED)
    for reader in (read_rgb, ImageRegions):
        with pytest.raises(OSError, match=r"16.tif cannot be read .*: its 16-bit values are 0 in white pixels"):
            reader(tmp_path / "16.tif")


@pytest.mark.parametrize("bits", [12])
def test_grey_tiff_files_of_other_bits_are_refused(tmp_path, bits):
    """Pillow reads their values as they are, in an image of 16 bits, in which white would be nearly black."""
    values = np.linspace(0, 2**bits - 1, 64 * 64).astype(np.uint32).reshape(64, 32, 2)
    first, second = values[..., 0], values[..., 1]
    packed = np.stack([first >> 4, ((first & 15) << 4) | (second >> 8), second & 255], -1).astype(np.uint8).tobytes()
    tags = {256: 64, 257: 64, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: 64, 279: len(packed)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    header = b"II*\0" + struct.pack("<I", 8 + len(packed))
    (tmp_path / "a.tif").write_bytes(header + packed + struct.pack("<H", len(tags)) + entries + bytes(4))
    with Image.open(tmp_path / "a.tif") as file:
        assert file.mode == "I;16"
    for reader in (read_rgb, ImageRegions):
        with pytest.raises(
            OSError, match=rf"a.tif cannot be read .*: its values have {bits} bits; save it with 8 or 16"
        ):
            reader(tmp_path / "a.tif")


MODES = {
    "png": ("1", "L", "LA", "P", "RGBA"),
    "tif": ("1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"),
    "jpg": ("L", "CMYK", "YCbCr"),
    "webp": ("RGBA",),
    "gif": ("L", "P"),
    "bmp": ("1", "L", "P"),
}


@pytest.mark.parametrize(("suffix", "mode"), [(suffix, mode) for suffix, modes in MODES.items() for mode in modes])
def test_other_modes_keep_their_colours(tmp_path, suffix, mode):
    picture = Image.new("RGB", (32, 32), (255, 0, 0))
    picture.paste((0, 0, 255), (0, 0, 16, 32))
    colours = picture.convert(mode)
    colours.save(tmp_path / f"a.{suffix}", quality=100)
    seen = np.asarray(read_rgb(tmp_path / f"a.{suffix}")).astype(int)
    expected = np.asarray(colours.convert("RGB")).astype(int)
    assert np.abs(seen - expected)[:, 20:].mean() < 10
    assert np.abs(seen - expected)[:, :12].mean() < 10


@pytest.mark.parametrize("transparency", [0, bytes(range(16))])
def test_transparent_palettes_are_read_without_a_warning(tmp_path, transparency):
    noise((32, 32), 80).convert("RGB").quantize(16).save(tmp_path / "a.png", transparency=transparency)
    assert read_rgb(tmp_path / "a.png").mode == "RGB"


@pytest.mark.slow
def test_large_images_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    bomb = png_of_zeros(tmp_path / "bomb.png", 13_000, 13_000)
    assert bomb.stat().st_size < 200_000
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    with pytest.raises(OSError, match=r"bomb.png cannot be read as an image: .*169000000 pixels"):
        read_rgb(bomb)
    monkeypatch.setenv(LIMIT, "1000000")
    with pytest.raises(OSError, match=r"bomb.png cannot be read"):
        read_rgb(bomb)


@pytest.mark.parametrize("limit", [119, 59, 1])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_the_limit_is_exact_and_named_however_much_larger_an_image_is(tmp_path, monkeypatch, limit):
    """Pillow warns of images beyond its limit, and refuses those beyond twice its limit."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    Image.new("RGB", (10, 12)).save(tmp_path / "a.png")
    monkeypatch.setenv(LIMIT, str(limit))
    with pytest.raises(OSError, match=f"it has 120 pixels, and the limit is {limit}; .*{LIMIT} to 120 or more"):
        read_rgb(tmp_path / "a.png")
    monkeypatch.setenv(LIMIT, "120")
    assert read_rgb(tmp_path / "a.png").size == (10, 12)


def test_the_limit_can_be_lowered_and_raised(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("RGB", (11, 11)).save(tmp_path / "a.png")
    with pytest.raises(OSError, match=r"a.png cannot be read as an image"):
        read_rgb(tmp_path / "a.png")
    monkeypatch.setenv(LIMIT, "121")
    assert read_rgb(tmp_path / "a.png").size == (11, 11)
    monkeypatch.setenv(LIMIT, "many")
    with pytest.raises(OSError, match=f"{LIMIT} must be a positive whole number, got 'many'"):
        read_rgb(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "gif", "webp", "bmp"])
def test_damaged_files_are_refused(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    noise((40, 30)).convert("RGB").save(path)
    content = path.read_bytes()
    for kept in (0, 10, len(content) // 2):
        path.write_bytes(content[:kept])
        with pytest.raises(OSError, match=f"a.{suffix} cannot be read as an image: .*; replace or remove it"):
            read_rgb(path)


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nothing")
    for name in ("pipe.png", "folder.png", "loop.png", "dangling.png"):
        with pytest.raises(OSError, match=f"{name} cannot be read as an image: it is no regular file"):
            read_rgb(tmp_path / name)
    for name in ("none.png", "a\0b.png"):
        with pytest.raises(OSError, match=r"cannot be read as an image: .*; replace or remove it"):
            read_rgb(tmp_path / name, tmp_path)


def test_a_format_that_runs_a_program_is_refused(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    with pytest.raises(OSError, match=r"a.png .* a file of the format EPS"):
        read_rgb(tmp_path / "a.png")


def test_paths_out_of_the_root_are_refused(tmp_path):
    root = tmp_path / "root"
    (root / "deeper").mkdir(parents=True)
    for place in (tmp_path / "out.png", root / "in.png"):
        Image.new("RGB", (8, 8)).save(place)
    (root / "link.png").symlink_to(tmp_path / "out.png")
    (root / "inner.png").symlink_to(root / "in.png")
    (root / "folder").symlink_to(tmp_path)
    (tmp_path / "alias").symlink_to(root)
    for name in ("../out.png", tmp_path / "out.png", "link.png", "folder/out.png", "deeper/../../out.png"):
        with pytest.raises(OSError, match=r"out.png|link.png.*: it is outside of the folder .*root, or a link"):
            read_rgb(root / name, root)
    for name in ("in.png", "inner.png", "deeper/../in.png", root / "in.png"):
        assert read_rgb(root / name, root).size == (8, 8)
        assert read_rgb(tmp_path / "alias" / name, tmp_path / "alias").size == (8, 8)
    assert read_rgb(root / "link.png").size == (8, 8)


def test_files_that_are_left_out_are_named_and_links_followed(tmp_path, caplog):
    """Images behind a link to a folder count, as in torchvision's ``ImageFolder``."""
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "folder"
    elsewhere.mkdir()
    folder.mkdir()
    for path in (elsewhere / "b.png", folder / "a.PNG", folder / "c.heic", folder / "notes.txt"):
        path.touch()
    (folder / "link").symlink_to(elsewhere)
    with caplog.at_level("INFO"):
        found = find_images(folder)
    assert found == [folder / "a.PNG", folder / "link" / "b.png"]
    assert "Unused: files in" in caplog.text
    assert "that are no images (2): c.heic, notes.txt" in caplog.text


@pytest.mark.parametrize("target", [".", "other"])
def test_links_in_a_circle_are_refused(tmp_path, target):
    for name in ("folder", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").touch()
    (tmp_path / "other" / "back").symlink_to(tmp_path / "folder")
    (tmp_path / "folder" / "link").symlink_to(tmp_path / "folder" if target == "." else tmp_path / "other")
    with pytest.raises(ValueError, match="is a link to a folder that holds it"):
        find_images(tmp_path / "folder")


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(10))
def test_images_are_turned_upright(tmp_path, orientation, suffix):
    """The corner that EXIF's table of orientations puts at the top left is there, whatever the format.

    0 and 9 are in no table, and mean that the orientation is not known.
    """
    stored = np.zeros((24, 40, 3), dtype=np.uint8)
    corners = {2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (1, 0), 7: (1, 1), 8: (0, 1)}
    row, column = corners.get(orientation, (0, 0))
    stored[row * 16 : row * 16 + 8, column * 32 : column * 32 + 8] = 255
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(stored).save(tmp_path / f"a.{suffix}", exif=exif)
    seen = np.asarray(read_rgb(tmp_path / f"a.{suffix}"))
    assert seen.shape == ((40, 24, 3) if 5 <= orientation <= 8 else (24, 40, 3))
    assert bool(read_headers([tmp_path / f"a.{suffix}"]).turned) is (2 <= orientation <= 8)
    assert seen[:8, :8].min() > 200
    assert seen[12:].max() < 60
    with Image.open(tmp_path / f"a.{suffix}") as opened:
        assert np.array_equal(np.asarray(to_rgb(opened)), seen)


@pytest.mark.parametrize("mode", ["L", "P", "I;16", "RGBA", "CMYK", "1", "LA"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_tiff_files_of_every_mode_are_turned_as_they_lie(tmp_path, mode, orientation):
    """Pillow maps uncompressed pixels into memory, and would take those on their side for rows of the upright width."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    picture = Image.fromarray(RAMP.astype(np.uint16)) if mode == "I;16" else Image.fromarray(EXPECTED).convert(mode)
    picture.save(tmp_path / "a.tif", exif=exif)
    picture.getexif()[ExifTags.Base.Orientation] = orientation
    expected = np.asarray(to_rgb(picture))
    assert np.array_equal(np.asarray(read_rgb(tmp_path / "a.tif")), expected)
    with Image.open(tmp_path / "a.tif") as opened:
        assert np.array_equal(np.asarray(to_rgb(opened)), expected)
    height, width = expected.shape[:2]
    regions = ImageRegions(tmp_path / "a.tif")[:, :height, :width]
    assert np.array_equal(regions.permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("late", [False, True])
def test_the_size_of_a_png_file_is_that_of_the_turned_image(tmp_path, orientation, late):
    """EXIF may follow the pixels of a PNG file."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png", exif=exif)
    content = (tmp_path / "a.png").read_bytes()
    start = content.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4], "big")
    if late:
        (tmp_path / "a.png").write_bytes(content[:start] + content[end:-12] + content[start:end] + content[-12:])
    assert read_size(tmp_path / "a.png") == read_rgb(tmp_path / "a.png").size
    assert read_size(tmp_path / "a.png") == ((30, 40) if orientation >= 5 else (40, 30))
    assert bool(read_headers([tmp_path / "a.png"]).turned) == (orientation != 1)
