"""Tests of classification data modules: splits, transforms, plots, and data that are refused."""

import logging
import os
import shutil

import pytest
import torch
from PIL import Image

from lightning_coordconv.classification.data import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ImageFolderDataModule,
    PlacedDigitsDataModule,
)


@pytest.fixture
def folder(tmp_path):
    """Grey images of 40 x 80 pixels with a white right half, three of each of two classes."""
    for split in ("train", "val"):
        for label, name in enumerate(("dark", "light")):
            (tmp_path / split / name).mkdir(parents=True)
            image = Image.new("L", (80, 40), 100 * label)
            image.paste(255, (40, 0, 80, 40))
            for i in range(3):
                image.save(tmp_path / split / name / f"{i}.png")
    return tmp_path


def test_samples_and_splits(folder):
    data = ImageFolderDataModule(str(folder), image_size=16, batch_size=4, num_workers=0)
    for loader, size in ((data.train_dataloader(), 4), (data.val_dataloader(), 4), (data.predict_dataloader(), 4)):
        batch = next(iter(loader))
        assert set(batch) == data.sample_keys
        assert batch["image"].shape == (size, 3, 16, 16)
        assert batch["image"].dtype == torch.float32
        assert batch["label"].dtype == torch.int64
        for path, label in zip(batch["path"], batch["label"], strict=True):
            assert ("dark", "light")[label] in path
    assert len(data.dataset("test")) == 6
    assert "val" in data.dataset("test").samples[0][0]
    for name in ("dark", "light"):
        (folder / "test" / name).mkdir(parents=True)
        Image.new("L", (8, 8)).save(folder / "test" / name / "a.png")
    assert len(ImageFolderDataModule(str(folder), num_workers=0).dataset("predict")) == 2


@pytest.mark.parametrize("copy", [None, shutil.copy, os.link])
def test_images_of_training_and_validation_are_counted(folder, caplog, copy):
    shutil.rmtree(folder / "val")
    if copy is None:
        (folder / "val").symlink_to("train")
    else:
        shutil.copytree(folder / "train", folder / "val", copy_function=copy)
    with caplog.at_level(logging.INFO):
        ImageFolderDataModule(str(folder), num_workers=0).dataset("train")
    reported = "data of the train split: images that are in the validation split too (6): "
    assert (reported in caplog.text) == (copy is not shutil.copy)  # data check compares contents


def test_evaluation_crops_the_middle_and_normalises(folder):
    image = ImageFolderDataModule(str(folder), image_size=14, num_workers=0).dataset("val")[0]["image"]
    pixels = image * torch.tensor(IMAGENET_STD)[:, None, None] + torch.tensor(IMAGENET_MEAN)[:, None, None]
    assert pixels[:, :, :5].abs().max() < 1e-6  # resized to 16 x 32, of which columns 9 to 22 remain; white from 16 on
    assert (pixels[:, :, 9:] - 1).abs().max() < 1e-6


def test_training_images_are_random_crops(folder):
    dataset = ImageFolderDataModule(str(folder), image_size=16, num_workers=0).dataset("train")
    torch.manual_seed(0)
    crops = [dataset[0]["image"] for _ in range(4)]
    assert not all(torch.equal(crops[0], crop) for crop in crops[1:])
    torch.manual_seed(0)
    assert torch.equal(crops[0], dataset[0]["image"])


@pytest.mark.parametrize("missing", ["", "train", "val"])
def test_missing_folder(folder, missing):
    shutil.rmtree(folder / missing)
    with pytest.raises(FileNotFoundError, match=rf"there is no folder .*{missing}.*: expected .*/<class>/<image>"):
        ImageFolderDataModule(str(folder))


def test_splits_must_agree_on_their_classes(folder):
    (folder / "val" / "medium").mkdir()
    with pytest.raises(ValueError, match="must have the same classes, but these are in only one of them: medium"):
        ImageFolderDataModule(str(folder))


def test_image_size_must_be_positive(folder):
    with pytest.raises(ValueError, match="image_size must be at least 1, got 0"):
        ImageFolderDataModule(str(folder), image_size=0)


@pytest.mark.slow
def test_plots(folder):
    data = ImageFolderDataModule(str(folder), image_size=16, num_workers=0)
    assert data.plot(data.dataset("val")[5]).axes[0].get_title() == "light"
    digits = PlacedDigitsDataModule("position", copies=1)
    assert "in cell" in digits.plot(digits.dataset("val")[0]).axes[0].get_title()


@pytest.mark.slow
def test_digits_by_split():
    data = PlacedDigitsDataModule("mixed", batch_size=8, copies=3, seed=4)
    assert [len(data.dataset(split)) for split in ("train", "val", "test", "predict")] == [10500, 500, 1000, 1000]
    batch, again = next(iter(data.train_dataloader())), next(iter(data.train_dataloader()))
    assert set(batch) == data.sample_keys
    assert batch["image"].shape == (8, 1, 64, 64)
    assert torch.equal(batch["image"], again["image"])


def test_an_impossible_grid_is_refused_at_once():
    with pytest.raises(ValueError, match="cell must be at least 14, got 9"):
        PlacedDigitsDataModule(cell=9)
