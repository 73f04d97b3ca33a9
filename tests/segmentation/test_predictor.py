"""Tests of the trained segmentation network in Python: labels as in the trainer, tiles, drawing, checkpoints."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lightning_coordconv import CoordConv2d
from lightning_coordconv.core.description import remember_arguments
from lightning_coordconv.core.preprocessing import Preprocessing
from lightning_coordconv.segmentation import (
    MaskFolderDataModule,
    SegmentationNetwork,
    SegmentationPredictor,
    SemanticSegmentation,
    load,
)
from tests.classification.test_task import quiet

NAMES = ["sky", "left", "right"]


def data(masks: Path) -> MaskFolderDataModule:
    return MaskFolderDataModule(str(masks), 3, class_names=NAMES, batch_size=2, num_workers=0)


@remember_arguments
class Small(nn.Sequential):
    """Sees a pixel further than a pixel, and where it is."""

    def __init__(self, width: int) -> None:
        super().__init__(CoordConv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 3, 1))


def train(net: nn.Module, masks: Path, path: Path) -> Path:
    task = SemanticSegmentation(net, 3, optimizer=lambda groups: torch.optim.Adam(groups, lr=0.05))
    run = quiet(path.parent, max_epochs=2, limit_val_batches=0)
    run.fit(task, data(masks))
    run.save_checkpoint(path)
    return path


@pytest.fixture(scope="module")
def trained(masks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return train(Small(16), masks, tmp_path_factory.mktemp("trained") / "last.ckpt")


@pytest.mark.slow
def test_labels_are_those_of_trainer_predict_and_of_the_test(trained, masks, tmp_path):
    model = load(trained, device="cpu")
    assert model.class_names == NAMES
    batches = quiet(tmp_path).predict(model.task, data(masks))
    paths = data(masks).dataset("test").images
    found = model.predict(paths)
    assert len(found) == len(batches) > 0
    right = pixels = 0
    for mine, (theirs,), path in zip(found, batches, paths, strict=True):
        assert torch.equal(mine.labels, theirs)
        assert len(mine.labels.unique()) > 1
        truth = np.asarray(Image.open(masks / "masks" / path.name))
        right, pixels = right + (mine.labels.numpy() == truth).sum(), pixels + truth.size
    (result,) = quiet(tmp_path).test(model.task, data(masks), verbose=False)
    assert right / pixels == pytest.approx(result["test/accuracy"], abs=1e-3)


class Normalised(nn.Sequential):
    """Has batch norm and dropout, which differ in training."""

    def __init__(self) -> None:
        super().__init__(CoordConv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Dropout(0.5), nn.Conv2d(8, 3, 1))


def test_a_task_that_was_trained_further_predicts_as_in_evaluation(masks):
    torch.manual_seed(0)
    model = SegmentationPredictor(SemanticSegmentation(Normalised(), 3), device="cpu")
    path = next((masks / "images").glob("*china*"))
    expected, before = model.predict(path).labels, model.task.net[1].running_mean.clone()
    model.task.train()
    assert torch.equal(model.predict(path).labels, expected)
    assert torch.equal(model.task.net[1].running_mean, before)


@pytest.mark.slow
def test_class_names_that_are_given_replace_those_of_the_checkpoint(trained, masks):
    path = next((masks / "images").glob("*china*"))
    for build in (load, partial(load, trust=True)):
        found = build(trained, device="cpu", class_names=["air", "port", "starboard"]).predict(path)
        assert found.class_names == ["air", "port", "starboard"]
        assert set(found.shares) <= set(found.class_names)
    task = SemanticSegmentation.load_from_checkpoint(trained, class_names=["air", "port", "starboard"])
    assert SegmentationPredictor(task, "cpu").class_names == ["air", "port", "starboard"]
    assert load(trained, device="cpu", tile=64, overlap=16).class_names == NAMES


def test_tiles_know_where_they_lie(trained, masks):
    path = next((masks / "images").glob("*china*"))
    whole = load(trained).predict(path).labels
    assert whole.shape == (96, 128)
    assert torch.equal(load(trained, tile=64, overlap=16).predict(path).labels, whole)


def test_of_a_large_image_one_tile_at_a_time_is_scaled(trained, masks, monkeypatch):
    seen, scale = [], Preprocessing.scale

    def note(self, pixels):
        seen.append(pixels)
        return scale(self, pixels)

    monkeypatch.setattr(Preprocessing, "scale", note)
    load(trained, tile=64, overlap=16).predict(next((masks / "images").glob("*china*")))
    assert {pixels.dtype for pixels in seen} == {torch.uint8}
    assert max(max(pixels.shape) for pixels in seen) == 64


def test_each_form_of_an_image_has_the_same_labels(trained, masks):
    model = load(trained)
    path = next((masks / "images").iterdir())
    expected = model.predict(path)
    array = np.asarray(Image.open(path))
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    for form in (str(path), Image.open(path), array, tensor, tensor / 255):
        assert torch.equal(model.predict(form).labels, expected.labels)
    assert torch.equal(model.predict([path])[0].labels, expected.labels)
    assert sum(expected.shares.values()) == pytest.approx(1)
    assert set(expected.shares) <= set(NAMES)


@pytest.mark.slow
def test_a_result_is_drawn_and_saved(trained, masks, tmp_path):
    found = load(trained).predict(next((masks / "images").iterdir()))
    assert "pixels: " in repr(found)
    assert np.asarray(found.plot()).std() > 1
    with Image.open(found.save(tmp_path / "picture.png")) as saved:
        assert saved.size == found.plot().size
    with Image.open(found.save_mask(tmp_path / "new" / "mask.png")) as saved:
        assert np.array_equal(np.asarray(saved), found.labels.numpy())
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match=r"mask.png cannot be written: "):
        found.save_mask(tmp_path / "file" / "mask.png")
    for suffix in (".webp", ".jpg", ".gif", ""):  # of which some change the values
        with pytest.raises(OSError, match=r"cannot be written: a mask is a \.png file"):
            found.save_mask(tmp_path / f"mask{suffix}")


@pytest.mark.slow
def test_nothing_is_fetched_for_a_checkpoint(masks, tmp_path, monkeypatch):
    """The checkpoint of a run that began with torchvision's weights needs neither them nor the network."""
    net = SegmentationNetwork("lraspp_mobilenet_v3_large", 3, coordinates="first")
    checkpoint = torch.load(train(net, masks, tmp_path / "last.ckpt"), weights_only=True)
    expected = load(tmp_path / "last.ckpt").task.state_dict()
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", None)
    arguments = checkpoint["hyper_parameters"]["net"]["init_args"]
    checkpoint["hyper_parameters"]["net"]["init_args"] = arguments | {"weights_backbone": "IMAGENET1K_V1"}
    torch.save(checkpoint, tmp_path / "last.ckpt")
    found = load(tmp_path / "last.ckpt").task.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("names", [None, NAMES])
def test_an_older_checkpoint_has_the_names_of_its_task(trained, masks, tmp_path, names):
    checkpoint = torch.load(trained, weights_only=True)
    del checkpoint["inference"]
    checkpoint["hyper_parameters"]["class_names"] = names
    torch.save(checkpoint, tmp_path / "old.ckpt")
    model = load(tmp_path / "old.ckpt")
    assert model.class_names == (names or ["0", "1", "2"])
    path = next((masks / "images").iterdir())
    assert torch.equal(model.predict(path).labels, load(trained).predict(path).labels)
