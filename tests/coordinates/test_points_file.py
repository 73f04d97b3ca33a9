"""Tests of reading a CSV file of points: accepted spellings, refused lines and images, doubtful units, data check."""

import os
import re
from pathlib import Path

import pytest
from PIL import Image

from lightning_coordconv.coordinates import PointsDataModule, read_points
from lightning_coordconv.runtime.cli import main
from tests.coordinates.test_points import discs


def write(folder: Path, lines: str, images: int = 3, size: tuple[int, int] = (30, 20)) -> Path:
    for number in range(images):
        Image.new("RGB", size, (9 * number, 0, 0)).save(folder / f"{number}.png")
    (folder / "points.csv").write_text(lines)
    return folder / "points.csv"


GOOD = "image,x,y\n0.png,0,0\n1.png,29,19\n2.png,14.5,9.25\n"


def test_what_a_file_says(tmp_path):
    points = read_points(write(tmp_path, GOOD))
    assert [(point.name, point.x, point.y, point.size) for point in points] == [
        ("0.png", 0, 0, (30, 20)),
        ("1.png", 29, 19, (30, 20)),
        ("2.png", 14.5, 9.25, (30, 20)),
    ]


@pytest.mark.parametrize(
    "lines",
    ["\ufeffimage,x,y\n0.png,3,4\n", "y, note, image, x\n4, a, 0.png, 3\n", "image,x,y\r\n\r\n 0.png , 3 ,4\r\n"],
)
def test_other_ways_to_write_the_same(lines, tmp_path):
    (point,) = read_points(write(tmp_path, lines))
    assert (point.name, point.x, point.y) == ("0.png", 3, 4)


WRONG = {
    "image,x\n0.png,1\n": r"points.csv line 1 has no y: it names the columns image, x",
    "0.png,1,1\n": r"points.csv line 1 has no image, x, y",
    "": r"points.csv line 1 has no image, x, y",
    "image,x,y\n": r"points.csv has no line with a point",
    "image,x,y\n0.png,1\n": r"points.csv line 2 has no y",
    "image,x,y\n0.png,1,1\n1.png,,1\n": r"points.csv line 3 has no x",
    "image,x,y\n0.png,left,1\n": r"points.csv line 2 has x = 'left', but it must be a number in \[0, 29\]",
    "image,x,y\n0.png,1,nan\n": r"points.csv line 2 has y = 'nan', but it must be a number in \[0, 19\]",
    "image,x,y\n0.png,30,1\n": r"line 2 has x = '30'",
    "image,x,y\n0.png,1,-1\n": r"line 2 has y = '-1'",
    "image,x,y\n0.png,1,1\n0.png,2,2\n": r"points.csv line 3 names the image 0.png once more",
    'image,x,y\n"0.png\n': r"points.csv",
    "image,x,y\n0.png,1,1\n./0.png,2,2\n": r"line 3 names the image ./0.png once more, which is also 0.png",
    "image,x,y\n0.png,2,5,3,5\n": r"points.csv line 2 has fields without a column: 3, 5; numbers have a decimal point",
    "image,x,y,x\n0.png,1,1,2\n": r"points.csv line 1 names the columns x more than once",
    'image,x,y,note\n0.png,1,1,"a\n1.png,2,2,b\n2.png,3,3,c\n': r"points.csv is no CSV file in UTF-8: unexpected",
    'image,x,y,note\n0.png,1,1,"a\n1.png,2,2,b"\n2.png,3,3,c\n': r"points.csv line 3 has a line break in note",
    "image,x,y\n0.png,1_0,1\n": r"points.csv line 2 has x = '1_0'",
    "image,x,y\n0.png,\uff11,1\n": r"points.csv line 2 has x = '\uff11'",
}


@pytest.mark.parametrize("lines", WRONG)
def test_a_line_that_cannot_be_used_is_named(lines, tmp_path):
    with pytest.raises((ValueError, OSError), match=WRONG[lines]):
        read_points(write(tmp_path, lines))


@pytest.mark.parametrize("content", [b"image,x,y\n\xff\xfe,1,1\n", b"image,x,y\n\x00,1,1\n"])
def test_a_file_that_is_no_text_is_named(content, tmp_path):
    (tmp_path / "points.csv").write_bytes(content)
    with pytest.raises((ValueError, OSError), match=r"points\.csv"):
        read_points(tmp_path / "points.csv")


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_an_image_behind_a_link_is_the_same_image(tmp_path, link):
    file = write(tmp_path, "image,x,y\n0.png,1,1\nz.png,2,2\n")
    link(tmp_path / "0.png", tmp_path / "z.png")
    with pytest.raises(ValueError, match=r"line 3 names the image z.png once more, which is also 0.png"):
        read_points(file)


def test_images_that_are_missing_or_damaged_are_named_with_their_line(tmp_path):
    file = write(tmp_path, "image,x,y\n9.png,1,1\n")
    with pytest.raises(OSError, match=r"points.csv line 2: .*9\.png"):
        read_points(file)
    (tmp_path / "0.png").write_text("no image")
    with pytest.raises(OSError, match=r"points.csv line 2: .*0\.png"):
        read_points(write(tmp_path, "image,x,y\n0.png,1,1\n", images=0))
    with pytest.raises(
        FileNotFoundError, match=r"no file .*none\.csv: expected a CSV file with the columns image, x, y"
    ):
        read_points(tmp_path / "none.csv")


@pytest.mark.slow
def test_data_check_counts_draws_and_names_what_a_run_would_refuse(tmp_path, capsys):
    file = discs(tmp_path, 20)
    file.write_text(file.read_text() + "\nlost.png,1,1\n0.png,2,2\n1.png,99,3\n")
    with pytest.raises(SystemExit) as exited:
        main(["data", "check", str(file), "--out", str(tmp_path / "samples.png")])
    report = capsys.readouterr().out
    assert exited.value.code == 1
    assert "refused: lines that cannot be used (3)" in report
    assert re.search(r"points\.csv line 22: .*lost\.png", report)
    assert re.search(r"^train +16 +16 +48 x 32$", report, re.MULTILINE)
    assert "train with: lightning-coordconv fit -c coordinates/points_coordconv --data.file" in report
    with Image.open(tmp_path / "samples.png") as picture:
        assert picture.width > 1000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lines", "noticed"),
    [
        ("0.png,0.1,0.2\n1.png,1,1\n2.png,0,0.5\n", True),
        (GOOD.partition("\n")[2], False),
        ("0.png,0.1,0.2\n1.png,1,2\n2.png,0,0\n", False),
    ],
)
def test_points_in_shares_of_the_image_are_noticed(lines, noticed, tmp_path, caplog, capsys):
    file = write(tmp_path, f"image,x,y\n{lines}")
    line = "all points are in the first pixels of their image: are they shares of its width and height?"
    with caplog.at_level("INFO"):
        PointsDataModule(str(file), 16, batch_size=1)
    assert (line in caplog.text) == noticed
    with pytest.raises(SystemExit):
        main(["data", "check", str(file), "--out", str(tmp_path / "out" / "samples.png")])
    assert (line in capsys.readouterr().out) == noticed
