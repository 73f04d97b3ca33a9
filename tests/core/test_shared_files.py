"""Tests of the report of training images that are in the validation or test split too."""

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from lightning_coordconv.core import BaseDataModule

NAMES = {"train": "ab", "val": "cd", "test": "ef"}


class Files(list):
    """As many samples as files."""

    @property
    def sample_files(self) -> list[Path]:
        return list(self)


class Pictures(BaseDataModule):
    """The files of one folder for each split."""

    def __init__(self, folder: Path, folders: Mapping[str, str] = {}) -> None:
        super().__init__(num_workers=0)
        self.folder, self.folders = folder, folders

    def make_dataset(self, split: str) -> Files:
        return Files(sorted((self.folder / self.folders.get(split, split)).iterdir()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split, names in NAMES.items():
        (tmp_path / split).mkdir()
        for name in names:
            (tmp_path / split / name).write_text(name)
    return tmp_path


def line(folder: Path, split: str, *names: str) -> str:
    paths = ", ".join(str(folder / "train" / name) for name in names)
    return f"data of the train split: images that are in the {split} split too ({len(names)}): {paths}"


@pytest.mark.parametrize(("first", "named"), [("train", True), ("test", True), ("val", False)])
@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_training_images_in_the_test_are_named_by_fit_and_by_test(folder, caplog, first, named, link):
    link(folder / "train" / "a", folder / "test" / "z")
    with caplog.at_level(logging.INFO):
        Pictures(folder).dataset(first)
    assert caplog.messages == [line(folder, "test", "a")] * named


def test_copies_are_left_to_data_check(folder, caplog):
    shutil.copy(folder / "train" / "a", folder / "test" / "z")
    with caplog.at_level(logging.INFO):
        Pictures(folder).dataset("train")
    assert not caplog.messages


@pytest.mark.parametrize("name", ["a", "b"])
def test_both_splits_are_named(folder, caplog, name):
    for split in ("val", "test"):
        (folder / split / "z").hardlink_to(folder / "train" / name)
    with caplog.at_level(logging.INFO):
        Pictures(folder).dataset("train")
    assert caplog.messages == [line(folder, "validation", name), line(folder, "test", name)]


def test_a_validation_split_that_serves_as_test_is_named_once(folder, caplog):
    (folder / "val" / "z").symlink_to(folder / "train" / "b")
    with caplog.at_level(logging.INFO):
        Pictures(folder, {"test": "val"}).dataset("train")
    assert caplog.messages == [line(folder, "validation", "b")]


def test_a_test_after_training_says_it_no_second_time(folder, caplog):
    (folder / "test" / "z").symlink_to(folder / "train" / "b")
    data = Pictures(folder)
    with caplog.at_level(logging.INFO):
        for split in ("train", "val", "test"):
            data.dataset(split)
    assert caplog.messages == [line(folder, "test", "b")]


@pytest.mark.parametrize(("missing", "used"), [("test", "train"), ("train", "test")])
def test_a_split_that_is_not_used_may_be_missing(folder, missing, used, caplog):
    shutil.rmtree(folder / missing)
    data = Pictures(folder)
    with caplog.at_level(logging.INFO):
        assert len(data.dataset(used)) == 2
    assert not caplog.messages
    with pytest.raises(FileNotFoundError):
        data.dataset(missing)


def test_a_missing_validation_split_is_refused_where_training_begins(folder):
    shutil.rmtree(folder / "val")
    with pytest.raises(FileNotFoundError):
        Pictures(folder).dataset("train")
