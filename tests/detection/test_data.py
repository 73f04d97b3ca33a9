"""Tests of detection data modules: options, splits, transforms, categories, plots, and reports of dropped boxes."""

import json
import logging
from pathlib import Path

import pytest
import torch
from torchvision.transforms import v2

from lightning_coordconv.detection import CocoDetectionDataModule, FieldOfMnistDataModule
from tests.photographs import write_photographs


def coco(folder: Path, **arguments: object) -> CocoDetectionDataModule:
    files = {"train_annotations": "boxes.json", "val_annotations": "boxes.json"}
    return CocoDetectionDataModule(str(folder), **{**files, "num_workers": 0, **arguments})


def edit(folder: Path, name: str = "boxes.json", **changes: object) -> None:
    content = json.loads((folder / "boxes.json").read_text())
    (folder / name).write_text(json.dumps(content | changes))


@pytest.mark.slow
def test_field_of_mnist_has_the_paper_s_sizes():
    data = FieldOfMnistDataModule(num_eval_images=20)
    assert data.num_images == 9_000
    assert len(data.dataset("val")) == len(data.dataset("test")) == 20
    assert torch.equal(data.dataset("test").images, data.dataset("predict").images)
    batch = next(iter(data.val_dataloader()))
    assert batch["image"].shape == (16, 1, 64, 64)
    assert len(batch["boxes"]) == len(batch["labels"]) == 16
    assert batch.keys() == data.sample_keys


@pytest.mark.slow
def test_options_reach_the_data():
    data = FieldOfMnistDataModule(
        num_images=5, num_eval_images=3, num_digits=2, canvas=50, crop=40, keep_outside=True, clip=True, seed=4
    )
    train = data.dataset("train")
    assert train.images.shape == (5, 40, 40)
    boxes = torch.cat(train.boxes)
    assert len(boxes) == 10
    assert boxes.min() >= 0
    assert boxes.max() <= 40


def test_impossible_options_are_refused_at_once():
    with pytest.raises(ValueError, match="canvas must be at least 64, got 30"):
        FieldOfMnistDataModule(canvas=30)


def test_batches_are_lists(photographs):
    data = coco(photographs, batch_size=3)
    batch = next(iter(data.train_dataloader()))
    assert batch.keys() == data.sample_keys
    assert sorted(batch["image_id"]) == [10, 20, 30]
    assert {image.shape for image in batch["image"]} == {(3, 107, 160), (3, 150, 128)}
    assert {len(boxes) for boxes in batch["boxes"]} == {2}


def test_a_test_split_beside_one_that_is_made_by_chance_is_refused(photographs):
    with pytest.raises(ValueError, match=r"test_annotations='boxes.json' needs val_annotations too, got None"):
        coco(photographs, val_annotations=None, test_annotations="boxes.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"test_images": "."}, r"test_images='.' needs test_annotations too, got None"),
        ({"val_annotations": None, "test_images": "."}, r"test_images='.' needs test_annotations too, got None"),
        ({"flip_indices": [1, 0, 2]}, r"flip_indices=\[1, 0, 2\] needs 'keypoints' among the targets, got \[\]"),
        (
            {"flip_indices": [1, 0, 2], "targets": ["masks"]},
            r"flip_indices=\[1, 0, 2\] needs 'keypoints' among the targets, got \['masks'\]",
        ),
    ],
)
def test_options_without_the_one_that_they_need_are_refused(photographs, arguments, message):
    with pytest.raises(ValueError, match=message):
        coco(photographs, **arguments)


def test_a_download_without_a_folder_is_refused():
    with pytest.raises(ValueError, match="download=True needs mnist_root, the folder for the full MNIST, got None"):
        FieldOfMnistDataModule(num_images=2, num_eval_images=1, download=True)


def test_training_images_alone_are_transformed(photographs):
    data = coco(photographs, train_transforms=[v2.RandomHorizontalFlip(p=1.0)])
    straight, flipped = data.dataset("val")[0], data.dataset("train")[0]
    torch.testing.assert_close(flipped["image"], straight["image"].flip(2))
    assert flipped["boxes"][0, 0] == 160 - straight["boxes"][0, 2]


def test_crowds_are_for_evaluation(tmp_path):
    write_photographs(tmp_path)
    annotations = json.loads((tmp_path / "boxes.json").read_text())["annotations"]
    annotations[0]["iscrowd"] = 1
    edit(tmp_path, annotations=annotations)
    data = coco(tmp_path)
    assert len(data.dataset("train")[0]["boxes"]) == 1
    assert data.dataset("val")[0]["iscrowd"].tolist() == [1, 0]


def test_what_predictions_are_made_for(photographs, tmp_path):
    assert coco(photographs).dataset("predict")[1]["image_id"] == 20
    files = coco(photographs, predict_images=".").dataset("predict")
    assert [Path(files[index]["path"]).name for index in range(3)] == ["china.jpg", "flower.jpg", "hopper.jpg"]


def test_drops_are_counted_and_reported(tmp_path, caplog):
    write_photographs(tmp_path)
    annotations = json.loads((tmp_path / "boxes.json").read_text())["annotations"]
    annotations[0]["bbox"] = [5, 5, 0, 3]
    annotations[2]["bbox"] = [5, 5, 1000, 3]
    edit(tmp_path, annotations=annotations)
    (tmp_path / "hopper.jpg").write_bytes((tmp_path / "hopper.jpg").read_bytes()[:500])
    with caplog.at_level(logging.INFO):
        data = coco(tmp_path, bad_images="drop", predict_images=".")
        assert len(data.dataset("val")) == len(data.dataset("predict")) == 2
    for split in ("val", "predict"):
        assert f"data of the {split} split: left out an image: {tmp_path}/hopper.jpg cannot be read" in caplog.text
    assert "data of the val split: dropped boxes without area in their image (1), by id 1" in caplog.text
    assert "data of the val split: cut boxes at the border of their image (1), by id 3" in caplog.text
    with pytest.raises(ValueError, match="annotation 1 has the box"):
        coco(tmp_path, bad_boxes="error")


def test_classes_that_a_split_lacks_are_named(tmp_path, caplog):
    write_photographs(tmp_path)
    annotations = json.loads((tmp_path / "boxes.json").read_text())["annotations"]
    edit(tmp_path, annotations=[annotation for annotation in annotations if annotation["category_id"] != 7])
    with caplog.at_level(logging.INFO):
        coco(tmp_path).dataset("val")
    assert "data of the val split: classes without an object, left out of means (1): tree" in caplog.text


def test_splits_must_have_the_same_categories(tmp_path):
    write_photographs(tmp_path)
    categories = json.loads((tmp_path / "boxes.json").read_text())["categories"]
    edit(tmp_path, "more.json", categories=[*categories, {"id": 91, "name": "boat"}])
    data = coco(tmp_path, train_annotations="more.json")
    with pytest.raises(ValueError, match=r"more.json and .*boxes.json must have the same categories, got .*boat"):
        data.dataset("train")


def test_plot_names_the_categories(photographs):
    data = coco(photographs)
    (axes,) = data.plot(data.dataset("val")[0]).axes
    assert [text.get_text() for text in axes.texts] == ["pagoda", "tree"]


@pytest.mark.slow
def test_a_split_of_digits_without_a_box_is_refused():
    with pytest.raises(ValueError, match="none of the 4 digits of the val split is in the middle 1 x 1 pixels"):
        FieldOfMnistDataModule(num_images=4, num_eval_images=2, num_digits=2, crop=1)
