"""Tests of the data set of images and masks: crops, batches, splits, names, and masks that are reported."""

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_coordconv.segmentation import MaskFolder, MaskFolderDataModule
from lightning_coordconv.segmentation.mask_files import read_mask
from tests.segmentation.masks import VALUES, dataset, save

ONLY = "have only the class 0"


@pytest.mark.parametrize(("value", "reported"), [(255, f"{ONLY}, and ignore_index, 255"), (0, f"{ONLY}:"), (1, "")])
def test_masks_of_one_class_are_reported(pair, caplog, value, reported):
    save(pair, (VALUES > 0).astype(np.uint8) * np.uint8(value))
    dataset(pair)
    assert reported in caplog.text
    assert bool(reported) == ("were looked at" in caplog.text)


@pytest.mark.parametrize("layout", ["folders of splits", "split by chance"])
def test_masks_without_an_image_are_reported(tmp_path, caplog, layout):
    folders = [tmp_path / "train", tmp_path / "val"] if layout == "folders of splits" else [tmp_path]
    for folder in folders:
        for part in ("images", "masks"):
            (folder / part).mkdir(parents=True)
            for number in range(4):
                Image.fromarray(VALUES.astype(np.uint8)).save(folder / part / f"{number}.png")
        (folder / "images" / "3.png").unlink()
    MaskFolderDataModule(str(tmp_path), 3).dataset("train")
    assert f"Unused: files in {folders[0] / 'masks'} that are no mask of an image (1): 3.png." in caplog.text


def test_images_of_training_and_validation_are_counted(tmp_path, caplog):
    for part in ("images", "masks"):
        (tmp_path / "train" / part).mkdir(parents=True)
        Image.fromarray(VALUES.astype(np.uint8)).save(tmp_path / "train" / part / "a.png")
    (tmp_path / "val").symlink_to("train")
    MaskFolderDataModule(str(tmp_path), 3).dataset("train")
    assert f"images that are in the validation split too (1): {tmp_path / 'train' / 'images' / 'a.png'}" in caplog.text


def test_crops_say_where_they_lie(pair):
    save(pair, VALUES.astype(np.uint8))
    whole, cropped = dataset(pair), dataset(pair, crop=(4, 5))
    for _ in range(10):
        sample = cropped[0]
        top, left = sample["origin"]
        assert torch.equal(sample["mask"], whole[0]["mask"][top : top + 4, left : left + 5])
        assert torch.equal(sample["image"], whole[0]["image"][:, top : top + 4, left : left + 5])
        assert sample["size"] == (10, 12)


def test_crops_larger_than_the_image_are_padded(pair):
    save(pair, VALUES.astype(np.uint8))
    sample = dataset(pair, crop=(16, 16))[0]
    assert sample["mask"].shape == (16, 16)
    assert (sample["mask"][10:] == 255).all()
    assert torch.equal(read_mask(pair / "masks" / "a.png", 3, 255), sample["mask"][:10, :12])


def test_splits_do_not_overlap_and_depend_on_the_seed(masks):
    def names(split, seed=0):
        return {path.name for path in MaskFolderDataModule(str(masks), 3, seed=seed).make_dataset(split).images}

    parts = [names(split) for split in ("train", "val", "test")]
    assert sum(map(len, parts)) == 6 == len(set.union(*parts))
    assert names("train") == names("train")
    assert any(names("train") != names("train", seed) for seed in range(1, 5))


def test_batches_of_several_sizes_are_padded(masks):
    data = MaskFolderDataModule(str(masks), 3, num_workers=0)
    batch = data.collate(list(MaskFolder(masks / "images", masks / "masks", 3)))
    assert batch["image"].shape == (6, 3, 128, 128)
    for mask, (height, width) in zip(batch["mask"], batch["size"], strict=True):
        assert (mask[:height, :width] < 3).all()
        assert (mask[height:] == 255).all()
        assert (mask[:, width:] == 255).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 1}, "num_classes must be at least 2, got 1"),
        ({"ignore_index": 2}, "ignore_index must not be one of the classes 0 to 2, got 2"),
        ({"crop": (0, 4)}, "the height of crop must be at least 1, got 0"),
        ({"crop": (4.5, 4)}, "the height of crop must be an integer, at least 1, got 4.5"),
        ({"crop": 4}, "crop must be a height and a width in pixels, got 4"),
        ({"num_classes": "3"}, "num_classes must be an integer, got '3'"),
        ({"class_names": ["a"]}, "expected 3 class_names, got 1"),
        ({"class_names": "abc"}, "class_names must be a list of texts, got 'abc'"),
        ({"class_names": {"a": 0, "b": 1, "c": 2}}, "class_names must be a list of texts, got {'a': 0"),
        ({"class_names": ["a", "b", "c\x1b[2J"]}, r"class_names has the name 'c\\x1b\[2J', with a control character"),
        ({"class_names": ["a", "b", "a"]}, r"class_names must be different texts, got \['a', 'b', 'a'\]"),
    ],
)
def test_wrong_arguments_are_named(masks, options, message):
    with pytest.raises(ValueError, match=message):
        MaskFolderDataModule(str(masks), **{"num_classes": 3, **options})


def test_a_mask_belongs_to_the_image_of_exactly_its_name(pair):
    """``a.0.png`` sorts before ``a.png``, and a glob for ``a.*`` finds both."""
    Image.new("RGB", (12, 10)).save(pair / "images" / "a.0.jpg")
    save(pair, np.zeros((10, 12), np.uint8))
    save(pair, np.ones((10, 12), np.uint8), "a.0.png")
    classes = {sample["name"]: sample["mask"].unique().tolist() for sample in dataset(pair)}
    assert classes == {"a": [0], "a.0": [1]}
    (pair / "masks" / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"a.jpg has no mask: expected .*a.png"):
        dataset(pair)


def test_names_that_fit_two_files_are_refused(pair):
    save(pair, np.zeros((10, 12), np.uint8))
    save(pair, np.ones((10, 12), np.uint8), "a.tif")
    with pytest.raises(ValueError, match=r"a.jpg has several masks, a.png and a.tif"):
        dataset(pair)
    (pair / "masks" / "a.tif").unlink()
    Image.new("RGB", (12, 10)).save(pair / "images" / "a.png")
    with pytest.raises(ValueError, match=r"a.jpg and .*a.png have the same name up to the ending"):
        dataset(pair)
