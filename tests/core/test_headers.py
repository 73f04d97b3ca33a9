"""Tests that the headers of image files tell which of their content is not read, without decoding it."""

from pathlib import Path

import pytest
from PIL import Image

from lightning_coordconv.core import headers
from lightning_coordconv.core.headers import read_headers, report_headers
from lightning_coordconv.core.images import read_rgb
from tests.partly_read import ALPHA, PARTLY_READ, SIXTEEN, SIZE, plain, saved, tiff

FILES = [(kind, name) for kind, files in PARTLY_READ.items() for name in files]


def write(folder: Path, kind: str, name: str) -> Path:
    (folder / name).write_bytes(PARTLY_READ[kind][name]())
    return folder / name


@pytest.mark.parametrize(("kind", "name"), FILES)
def test_what_is_not_read_of_a_file_is_said_by_its_header(tmp_path, monkeypatch, kind, name):
    path = write(tmp_path, kind, name)
    assert read_rgb(path).size == SIZE
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    (line,) = read_headers([path]).remarks
    assert line.startswith(f"{kind} (1): {path}; ")


@pytest.mark.parametrize("suffix", ["PNG", "JPEG", "TIFF", "GIF", "WEBP", "BMP", "PPM"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_of_files_that_are_read_whole_nothing_is_said(tmp_path, suffix, mode):
    (tmp_path / "a").write_bytes(saved(plain(mode), suffix))
    assert read_headers([tmp_path / "a"]).remarks == []


@pytest.mark.parametrize("mode", ["1", "CMYK", "YCbCr", "P"])
def test_of_other_colours_in_a_tiff_file_nothing_is_said(tmp_path, mode):
    (tmp_path / "a").write_bytes(saved(plain(mode), "TIFF"))
    assert read_headers([tmp_path / "a"]).remarks == []


@pytest.mark.parametrize(
    "content", [b"P5\n65535 1\n255\n" + bytes(65_535), b"P5\n12 8\n4095\n" + bytes(192), tiff(8, 3)]
)
def test_files_of_other_values_have_not_16_bits(tmp_path, content):
    """Those of a PGM file are from 0 to the number in its header, by which Pillow scales them."""
    (tmp_path / "a").write_bytes(content)
    assert read_headers([tmp_path / "a"]).remarks == []


def test_previews_behind_a_photograph_are_no_frames(tmp_path):
    (tmp_path / "a.jpg").write_bytes(saved(plain(), "MPO", plain(value=200)))
    with Image.open(tmp_path / "a.jpg") as file:
        assert file.is_animated
    assert read_headers([tmp_path / "a.jpg"]).remarks == []


def test_a_file_of_several_kinds_counts_in_each(tmp_path):
    (tmp_path / "a.png").write_bytes(saved(plain("RGBA"), "PNG", plain("RGBA", value=200)))
    assert len(read_headers([tmp_path / "a.png"]).remarks) == 2


def test_files_that_cannot_be_read_are_left_out(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    path = write(tmp_path, ALPHA, "LA.png")
    (line,) = read_headers([tmp_path / "a.png", tmp_path / "none.png", path]).remarks
    assert f"(1): {path};" in line


def test_the_numbers_of_the_kinds_and_the_first_names_are_given(tmp_path):
    content = PARTLY_READ[SIXTEEN]["grey.png"]()
    paths = [tmp_path / f"{number}.png" for number in range(7)]
    for path in paths:
        path.write_bytes(content)
    (line,) = read_headers(paths).remarks
    assert line.startswith(f"{SIXTEEN} (7): {', '.join(map(str, paths[:5]))} and 2 more; ")


def test_of_very_many_files_some_are_looked_at_and_the_line_says_so(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(headers, "LOOKED_AT", 2)
    paths = [write(tmp_path, ALPHA, name) for name in ("LA.png", "RGBA.png", "palette.png")]
    with caplog.at_level("INFO"):
        report_headers(paths)
    assert f"2 of 3 image files were looked at: {ALPHA} (2): {paths[0]}, {paths[2]}; " in caplog.text
