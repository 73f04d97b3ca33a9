"""Tests of the search for images that are in two splits, twice in one split, or in no split."""

import shutil
from pathlib import Path

import pytest

from lightning_coordconv.core.repeated_files import remarks_on_files

NAMES = ("train/a.png", "train/b.png", "val/a.png", "val/b.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"0123456789"[number:] + b"x" * number)  # all of one size
    return tmp_path


def remarks(root: Path, others: tuple[Path, ...] = ()) -> list[str]:
    return remarks_on_files(root, {split: sorted((root / split).glob("*.*")) for split in ("train", "val")}, others)


def copy(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    shutil.copy(source, target)


def link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    target.symlink_to(source)


def hard_link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    target.hardlink_to(source)


def test_different_files_of_one_size_are_not_repeated(root):
    assert remarks(root) == []


@pytest.mark.parametrize("repeat", [copy, link, hard_link])
def test_a_picture_in_two_splits_is_named(repeat, root):
    repeat(root / "train" / "a.png", root / "val" / "b.png")
    assert remarks(root) == ["pictures in two splits with the same content (1): train/a.png = val/b.png"]


@pytest.mark.parametrize("repeat", [copy, link, hard_link])
def test_a_picture_twice_in_a_split_is_named(repeat, root):
    repeat(root / "train" / "a.png", root / "train" / "c.png")
    assert remarks(root) == ["pictures that occur twice in a split (1): train/a.png = train/c.png"]


def test_splits_of_the_same_folder_are_named(root):
    files = sorted((root / "train").glob("*"))
    (line, _) = remarks_on_files(root, {"train": files, "val": files}, ())
    assert line.startswith("pictures in two splits with the same content (2): train/a.png = train/a.png, ")


def test_many_are_counted(root):
    for number in range(9):
        copy(root / "train" / "a.png", root / "val" / f"more{number}.png")
    assert remarks(root)[0].endswith(" and 6 more")


def test_pictures_in_no_split_are_counted_by_folder(root):
    for name in ("Test/a.png", "Test/b.png", "masks/a.png", "loose.png", "notes.txt"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(name.encode())
    assert remarks(root, (root / "masks" / "a.png",)) == ["pictures in no split (3): Test (2), loose.png (1)"]


def test_files_that_are_missing_are_left_to_the_reader(root):
    (root / "val" / "b.png").unlink()
    (root / "val" / "b.png").symlink_to(root / "nowhere.png")
    assert remarks(root) == []


def test_a_file_that_lists_pictures_says_nothing_of_others(root):
    (root / "points.csv").write_text("image,x,y\n")
    copy(root / "train" / "a.png", root / "b.png")
    assert remarks_on_files(root / "points.csv", {"train": [root / "train" / "a.png", root / "b.png"]}, ()) == [
        "pictures that occur twice in a split (1): train/a.png = b.png"
    ]
