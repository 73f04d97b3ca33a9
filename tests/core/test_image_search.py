"""Tests of which images predictions are made for: those of a folder, or one, from the data or the current folder."""

import re

import pytest

from lightning_coordconv.core.image_search import find_images, find_predicted


@pytest.mark.parametrize("start", ["data", "current", "absolute"])
@pytest.mark.parametrize("name", ["new/b.png", "new"])
def test_a_folder_or_a_file_is_found_from_either_place(tmp_path, monkeypatch, start, name):
    root, current = tmp_path / "data", tmp_path / "current"
    folder = (root if start == "data" else current) / "new"
    for path in (root, current, folder):
        path.mkdir(exist_ok=True)
    for file in ("a.png", "b.png"):
        (folder / file).touch()
    monkeypatch.chdir(current)
    given = str(current / name) if start == "absolute" else name
    files = [folder / "b.png"] if name.endswith("png") else [folder / "a.png", folder / "b.png"]
    assert find_predicted(root, given) == (folder, files)


@pytest.mark.parametrize("name", ["images", "./images", "images/a.png"])
def test_a_name_that_exists_in_both_places_is_refused(tmp_path, monkeypatch, name):
    for folder in (tmp_path / "data" / "images", tmp_path / "current" / "images"):
        folder.mkdir(parents=True)
        (folder / "a.png").touch()
    monkeypatch.chdir(tmp_path / "current")
    both = f"{tmp_path / 'data' / name} and {tmp_path / 'current' / name}"
    with pytest.raises(ValueError, match=f"which {re.escape(both)} both are: give the absolute path of one$"):
        find_predicted(tmp_path / "data", name)
    assert find_predicted(tmp_path / "current", name)[1] == [tmp_path / "current" / "images" / "a.png"]
    assert find_predicted(tmp_path / "data", ".")[1] == [tmp_path / "data" / "images" / "a.png"]


def test_what_exists_in_neither_place_is_named_with_its_option(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    message = f"predict_images is 'new', but there is no {tmp_path / 'data' / 'new'} nor {tmp_path / 'new'}"
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(message)}$"):
        find_predicted(tmp_path / "data", "new")
    with pytest.raises(FileNotFoundError, match="there are no images"):
        find_predicted(tmp_path, "data")


def test_pictures_in_hidden_folders_are_no_data(tmp_path, caplog):
    for name in ("a/b.png", "a/.ipynb_checkpoints/b-checkpoint.png", ".thumbnails/a/b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with caplog.at_level("INFO"):
        assert find_images(tmp_path) == [tmp_path / "a/b.png"]
    assert f"hidden folders in {tmp_path} (2): .thumbnails, a/.ipynb_checkpoints" in caplog.text


def test_pictures_in_folders_of_runs_are_no_data(tmp_path, caplog):
    for name in ("a.png", "logs/x/version_0/figures/b.png", "logs/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("config.yaml", "hparams.yaml"):
        (tmp_path / "logs/x/version_0" / name).touch()
    with caplog.at_level("INFO"):
        assert find_images(tmp_path) == [tmp_path / "a.png", tmp_path / "logs/c.png"]
    assert f"folders of runs in {tmp_path} (1): logs/x/version_0" in caplog.text
