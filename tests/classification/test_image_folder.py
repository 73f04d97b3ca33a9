"""Tests of the image folder data set: labels, modes of images, and files that are skipped or refused."""

import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from lightning_coordconv.classification import LabelledImages
from tests.photographs import noise

TO_TENSOR = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


def save(path, colour, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (4, 6), colour).save(path)


def test_labels_are_ranks_of_folders(tmp_path):
    save(tmp_path / "red" / "a.png", (255, 0, 0))
    save(tmp_path / "blue" / "deeper" / "b.png", (0, 0, 255))
    (tmp_path / "red" / "notes.txt").write_text("no image")
    dataset = LabelledImages(tmp_path, TO_TENSOR)
    assert dataset.classes == ["blue", "red"]
    assert len(dataset) == 2
    blue, red = dataset
    assert (blue["label"], red["label"]) == (0, 1)
    assert red["path"] == str(tmp_path / "red" / "a.png")
    assert red["image"].shape == (3, 6, 4)
    assert red["image"].mean((1, 2)).tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("mode", "colour"), [("L", 51), ("P", 51), ("RGBA", (51, 51, 51, 0)), ("CMYK", (0, 0, 0, 204))]
)
def test_every_image_becomes_rgb(tmp_path, mode, colour):
    save(tmp_path / "grey" / ("a.tif" if mode == "CMYK" else "a.png"), colour, mode)
    assert LabelledImages(tmp_path, TO_TENSOR)[0]["image"].shape == (3, 6, 4)


def test_missing_folder(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"there is no folder .*train: expected .*train/<class>/<image>, .*\.jpg"
    ):
        LabelledImages(tmp_path / "train", TO_TENSOR)


def test_folder_without_classes(tmp_path):
    save(tmp_path / "a.png", 0)
    with pytest.raises(FileNotFoundError, match=r"has no folder per class: expected .*/<class>/<image>"):
        LabelledImages(tmp_path, TO_TENSOR)


@pytest.mark.parametrize("name", ["red\x1b[2J", "red\x9b2J", "red\nblue"])
def test_a_class_whose_name_a_terminal_would_obey(tmp_path, name):
    save(tmp_path / name / "a.png", 0)
    with pytest.raises(ValueError, match=r"has the name 'red.*', with a control character") as caught:
        LabelledImages(tmp_path, TO_TENSOR)
    assert str(caught.value).isprintable()


def test_class_without_images(tmp_path):
    save(tmp_path / "red" / "a.png", 0)
    (tmp_path / "blue").mkdir()
    with pytest.raises(FileNotFoundError, match=r"has classes without an image in \.jpg, .* \(1\): blue$"):
        LabelledImages(tmp_path, TO_TENSOR)


def test_files_that_are_no_images_are_counted_and_named(tmp_path, caplog):
    caplog.set_level("INFO")
    save(tmp_path / "red" / "a.PNG", 0)
    LabelledImages(tmp_path, TO_TENSOR)
    assert not caplog.messages
    save(tmp_path / "loose.png", 0)  # belongs to no class
    (tmp_path / "red" / "deeper").mkdir()
    (tmp_path / "red" / "deeper" / "notes.txt").write_text("no image")
    (tmp_path / "red" / "._a.png").write_bytes(b"macOS writes such files beside images")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    dataset = LabelledImages(tmp_path, TO_TENSOR)
    assert (dataset.classes, len(dataset)) == (["red"], 1)
    assert caplog.messages == [
        f"Unused: files in {tmp_path} that are no images of a class (3): loose.png, red/._a.png, red/deeper/notes.txt."
    ]


def test_files_and_labels_are_those_of_torchvision(tmp_path):
    for name in ("b/2.png", "b/10.png", "a/z/1.jpg", "a/a.bmp", "a/b/c.webp", "c/1.TIFF"):
        save(tmp_path / name, 0)
    linked = tmp_path / "d" / "linked"
    linked.parent.mkdir()
    linked.symlink_to(tmp_path / "b", target_is_directory=True)
    reference = ImageFolder(str(tmp_path))
    dataset = LabelledImages(tmp_path, TO_TENSOR)
    assert (dataset.classes, dataset.samples) == (reference.classes, reference.samples)


@pytest.mark.parametrize("keep", [0, 20, 2000])
def test_damaged_file(tmp_path, keep):
    file = tmp_path / "red" / "a.png"
    file.parent.mkdir()
    noise((64, 64), 100).save(file)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(OSError, match=r"red/a\.png cannot be read as an image: .*; replace or remove it"):
        LabelledImages(tmp_path, TO_TENSOR)[0]


def test_damage_that_pillow_calls_a_value_error(tmp_path):
    (tmp_path / "red").mkdir()
    (tmp_path / "red" / "a.ppm").write_bytes(b"P6 4 x 255 ")
    with pytest.raises(OSError, match=r"red/a\.ppm cannot be read as an image: .*; replace or remove it"):
        LabelledImages(tmp_path, TO_TENSOR)[0]
