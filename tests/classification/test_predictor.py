"""Tests of the trained classifier in Python: classes as in the trainer, kinds of input, wrong checkpoints, warnings."""

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_coordconv.classification import (
    ClassificationPredictor,
    ImageClassification,
    ImageFolderDataModule,
    PlacedDigitsDataModule,
    PooledClassifier,
    load,
)
from lightning_coordconv.core.checkpoints import CheckpointError
from tests.classification.test_task import quiet
from tests.photographs import noise


def fresh() -> ImageClassification:
    return ImageClassification(PooledClassifier(2, coordinates=True, channels=3))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return photographs of two classes, of several sizes."""
    root = tmp_path_factory.mktemp("folders")
    for split in ("train", "val"):
        for number, name in enumerate(("hat", "dahlia")):
            (root / split / name).mkdir(parents=True)
            for seed, size in enumerate(((40, 30), (50, 70), (33, 33))):
                noise(size, 60 + 40 * number, seed).convert("RGB").save(root / split / name / f"{size[0]}.png")
    return root


@pytest.fixture(scope="module")
def trained(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "last.ckpt"
    task = fresh()
    run = quiet(path.parent, max_steps=2, limit_val_batches=0)
    run.fit(task, ImageFolderDataModule(str(folders), 32, batch_size=2, num_workers=0))
    run.save_checkpoint(path)
    return path


def test_a_default_of_double_precision_changes_no_prediction(trained, folders):
    model = load(trained, device="cpu")
    expected = [each.probability for each in model.predict(folders / "val")]
    torch.set_default_dtype(torch.float64)
    try:
        for each in (model, load(trained, device="cpu")):
            found = [each.probability for each in each.predict(folders / "val")]
            assert found == pytest.approx(expected, abs=1e-6)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("size", [64, (64,), (64, 64, 3)])
def test_a_size_of_an_export_that_is_none_is_named(trained, tmp_path, size):
    with pytest.raises(ValueError, match=r"^size must be the height and the width, two integers, got "):
        load(trained, device="cpu").export(tmp_path / "a.onnx", size)


def test_classes_are_those_of_trainer_predict(trained, folders, tmp_path):
    model = load(trained, device="cpu")
    assert model.class_names == ["dahlia", "hat"]
    data = ImageFolderDataModule(str(folders), 32, batch_size=1, num_workers=0)
    batches = quiet(tmp_path).predict(model.task, data)
    found = model.predict(folders / "val")
    assert len(found) == len(batches) == 6
    for mine, theirs in zip(found, batches, strict=True):
        assert mine.source.name == str(theirs["path"][0])
        assert (mine.label, mine.probability) == (theirs["predicted"].item(), theirs["probability"].item())
        assert mine.name == next(iter(mine.probabilities)) == model.class_names[mine.label]
        assert sum(mine.probabilities.values()) == pytest.approx(1)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_of_a_run_that_diverged_are_refused(trained, tmp_path, value):
    """The most probable class of NaN is the first one, as if the network had chosen it."""
    checkpoint = torch.load(trained, weights_only=True)
    name = next(iter(checkpoint["state_dict"]))
    checkpoint["state_dict"][name][0] = value
    torch.save(checkpoint, tmp_path / "diverged.ckpt")
    for read in (load, ImageClassification.load_from_checkpoint):
        with pytest.raises(ValueError, match=rf"diverged.ckpt holds weights that are infinite or NaN: {name}"):
            read(tmp_path / "diverged.ckpt")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "a"], "must be different texts, got"),
        ([1, 2], "must be different texts, got"),
        ("ab", "must be a list of texts, got 'ab'"),
        (5, "are wrong"),
        (["a", "b", "c"], "the network has 2 outputs, too few for the class_names of the checkpoint"),
    ],
)
def test_names_of_other_classes_are_refused(trained, folders, tmp_path, names, message):
    checkpoint = torch.load(trained, weights_only=True)
    checkpoint["inference"]["class_names"] = names
    torch.save(checkpoint, tmp_path / "named.ckpt")
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path / "named.ckpt").predict(folders / "val" / "hat" / "33.png")


@pytest.mark.parametrize(("name", "other"), [("1", "class 1"), ("class 1", "output 1")])
def test_a_class_without_a_name_has_another_name_than_all_others(trained, folders, tmp_path, name, other):
    checkpoint = torch.load(trained, weights_only=True)
    checkpoint["inference"]["class_names"] = [name]
    torch.save(checkpoint, tmp_path / "one.ckpt")
    found = load(tmp_path / "one.ckpt").predict(folders / "val" / "hat" / "33.png")
    assert set(found.probabilities) == {name, other}


def test_each_form_of_an_image_has_the_same_class(trained, folders):
    model = load(trained)
    path = folders / "val" / "hat" / "50.png"
    expected = model.predict(path).probabilities
    array = np.asarray(Image.open(path))
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    for form in (str(path), Image.open(path), array, tensor):
        assert model.predict(form).probabilities == expected
    assert model.predict(tensor / 255).probabilities == pytest.approx(expected, abs=1e-2)
    assert [result.probabilities for result in model.predict(tensor[None])] == [expected]


def test_placed_digits_are_read_in_grey(tmp_path):
    data = PlacedDigitsDataModule("position", copies=1, batch_size=64, eval_batch_size=1)
    task = ImageClassification(PooledClassifier(4, coordinates=True))
    run = quiet(tmp_path, max_steps=1, limit_val_batches=0, limit_predict_batches=1)
    run.fit(task, data)
    run.save_checkpoint(tmp_path / "last.ckpt")
    image = (data.dataset("test")[0]["image"][0] * 255).round().byte().numpy()
    found = load(tmp_path / "last.ckpt").predict(image)
    (expected,) = run.predict(task, data)
    assert (found.label, found.probability) == (
        expected["predicted"].item(),
        pytest.approx(expected["probability"].item()),
    )
    assert found.name == f"cell {found.label}"


@pytest.mark.slow
def test_a_result_is_drawn_and_saved(trained, folders, tmp_path):
    found = load(trained).predict(folders / "val" / "hat" / "40.png")
    assert repr(found).endswith(f": {found.name} {found.probability:.2f}")
    assert np.asarray(found.plot()).std() > 1
    with Image.open(found.save(tmp_path / "class.jpg")) as saved:
        assert saved.size == found.plot().size


def test_a_task_after_its_training_predicts_without_a_checkpoint(trained, folders, tmp_path):
    task = ImageClassification(PooledClassifier(2, channels=3))
    quiet(tmp_path, max_steps=1, limit_val_batches=0).fit(
        task, ImageFolderDataModule(str(folders), 32, batch_size=2, num_workers=0)
    )
    assert ClassificationPredictor(task).predict(folders / "val" / "hat" / "40.png").name in ("hat", "dahlia")


@pytest.mark.parametrize("size", [32, 48])
def test_an_evaluation_on_images_that_are_prepared_in_another_way_warns(size, folders, trained, tmp_path):
    data = ImageFolderDataModule(str(folders), size, batch_size=2, num_workers=0)
    with warnings.catch_warnings(record=True, action="always") as caught:
        quiet(tmp_path).test(fresh(), data, ckpt_path=trained, weights_only=True, verbose=False)
    message = "trained on images prepared with resize=37, crop=32, and now sees resize=55, crop=48"
    assert any(message in str(warning.message) for warning in caught) == (size == 48)


@pytest.mark.slow
@pytest.mark.parametrize("order", [("hat", "dahlia"), ("dahlia", "tulip")])
def test_an_evaluation_on_other_classes_than_those_of_the_checkpoint_warns(order, folders, trained, tmp_path):
    for split in ("train", "val"):
        for name, other in zip(("dahlia", "hat"), sorted(order), strict=True):
            shutil.copytree(folders / split / name, tmp_path / "images" / split / other)
    data = ImageFolderDataModule(str(tmp_path / "images"), 32, batch_size=2, num_workers=0)
    message = "trained with the class_names ['dahlia', 'hat'], but the data have ['dahlia', 'tulip']"
    for task, path in ((load(trained, device="cpu").task, None), (fresh(), trained)):
        with warnings.catch_warnings(record=True, action="always") as caught:
            quiet(tmp_path).test(task, data, ckpt_path=path, weights_only=True, verbose=False)
        assert any(message in str(warning.message) for warning in caught) == ("tulip" in order)
    run = quiet(tmp_path, max_steps=1, limit_val_batches=1)
    run.fit(load(trained, device="cpu").task.requires_grad_(True).train(), data)  # learns other classes
