"""Tests of the trained detector in Python: loading from checkpoints, boxes, forms of images, thresholds, drawing."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn

from lightning_coordconv.core.checkpoints import CheckpointError
from lightning_coordconv.detection import (
    CocoDetectionDataModule,
    DetectionPredictor,
    Detector,
    DigitFasterRCNN,
    FieldOfMnistDataModule,
    ObjectDetection,
    RegionProposal,
    RegionProposalNet,
    load,
)
from lightning_coordconv.runtime.callbacks import MovingAverage
from tests.detection.test_torchvision_detectors import MOBILE, SMALL
from tests.slow import slow_except

NAMES = ["background", "pagoda", "tree", "dahlia", "hat", "glasses"]
OPTIONS = SMALL | {"box_score_thresh": 0.0}


class Stack(nn.Module):
    def forward(self, images: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack(images)


def trainer(folder: Path, **options) -> Trainer:
    options = {"enable_checkpointing": False} | options
    return Trainer(
        max_steps=2, accelerator="cpu", logger=False, default_root_dir=folder,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0, **options,
    )  # fmt: skip


def data(photographs: Path) -> CocoDetectionDataModule:
    return CocoDetectionDataModule(
        str(photographs), "boxes.json", "boxes.json", batch_size=1, num_workers=0, predict_images="."
    )


@pytest.fixture(scope="module")
def trained(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint of a detector with coordinates, and of the moving average of its weights."""
    path = tmp_path_factory.mktemp("trained") / "last.ckpt"
    task = ObjectDetection(
        Detector(MOBILE, 6, "stem", options=OPTIONS), optimizer=lambda groups: torch.optim.SGD(groups, lr=1e-4)
    )
    saving = ModelCheckpoint(path.parent, path.stem, every_n_train_steps=2)
    run = trainer(path.parent, callbacks=[MovingAverage(decay=0.9), saving], enable_checkpointing=True)
    run.fit(task, data(photographs))
    return path


def same(found, expected: dict[str, torch.Tensor]) -> None:
    assert len(expected["boxes"]) > 3
    for key in ("boxes", "labels", "scores"):
        torch.testing.assert_close(getattr(found, key), expected[key])


@pytest.mark.slow
def test_detections_are_those_of_trainer_predict(trained, photographs, tmp_path):
    model = load(trained, device="cpu")
    found = model.predict(photographs, threshold=0.0)
    batches = trainer(tmp_path).predict(model.task, data(photographs))
    expected = [detections for batch in batches for detections in batch]
    assert len(found) == len(expected) == 3
    for mine, theirs in zip(found, expected, strict=True):
        same(mine, theirs)
        assert mine.names == tuple(NAMES[label] for label in theirs["labels"])


@pytest.mark.slow
def test_the_weights_are_those_that_evaluation_uses(trained):
    saved = torch.load(trained, weights_only=True)
    weights = load(trained).task.state_dict()
    assert all(torch.equal(weights[name], saved["state_dict"][name]) for name in weights)
    assert "current_model_state" in saved
    assert any(not torch.equal(weights[name], saved["current_model_state"][name]) for name in weights)


@pytest.mark.slow
def test_each_form_of_an_image_has_the_same_boxes(trained, photographs):
    model = load(trained)
    path = photographs / "hopper.jpg"
    expected = model.predict(path, threshold=0.0)
    image = Image.open(path)
    array = np.asarray(image)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    for form in (str(path), image, array, tensor, tensor / 255):
        same(model.predict(form, threshold=0.0), vars(expected))
    (one,) = model.predict([path], threshold=0.0)
    same(one, vars(expected))


@pytest.mark.slow
def test_a_file_and_a_pillow_image_are_turned_as_exif_says(trained, photographs, tmp_path):
    model = load(trained)
    image = Image.open(photographs / "hopper.jpg")
    exif = Image.Exif()
    exif[0x0112] = 3
    image.save(tmp_path / "turned.png", exif=exif)
    expected = vars(model.predict(image.transpose(Image.Transpose.ROTATE_180), threshold=0.0))
    same(model.predict(tmp_path / "turned.png", threshold=0.0), expected)
    same(model.predict(Image.open(tmp_path / "turned.png"), threshold=0.0), expected)


@pytest.mark.slow
def test_a_threshold_leaves_out_lower_scores(trained, photographs):
    model = load(trained)
    everything = model.predict(photographs / "china.jpg", threshold=0.0)
    threshold = everything.scores.median().item()
    some = model.predict(photographs / "china.jpg", threshold)
    assert 0 < len(some) < len(everything)
    assert some.scores.min() >= threshold
    assert len(some) + some.hidden == len(everything)
    assert f"china.jpg: {len(some)} boxes, {some.hidden} below {threshold:g}: " in repr(some)
    assert [detection.name for detection in some] == list(some.names)
    for wrong in (-0.1, 1.1, float("nan"), "0.5", None, True):
        with pytest.raises(ValueError, match=rf"^threshold must be a number in \[0, 1\], got {wrong!r}$"):
            model.predict(photographs, wrong)


@pytest.mark.slow
def test_a_result_is_drawn_and_saved(trained, photographs, tmp_path):
    found = load(trained).predict(photographs / "china.jpg", threshold=0.0)
    assert "china.jpg: " in repr(found)
    assert np.asarray(found.plot()).std() > 1
    with Image.open(found.save(tmp_path / "new" / "boxes.png")) as saved:
        assert saved.size == found.plot().size
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "boxes.xyz", tmp_path / "file" / "boxes.png"):
        with pytest.raises(OSError, match=f"{path} cannot be written: "):
            found.save(path)


@pytest.mark.slow
def test_nothing_is_fetched_for_a_checkpoint(photographs, tmp_path, monkeypatch):
    """The checkpoint replaces pretrained weights, whose file or server may be gone."""
    weights = tmp_path / "weights.pth"
    torch.save(Detector(MOBILE, 6, "none", options=OPTIONS).detector.state_dict(), weights)
    task = ObjectDetection(Detector(MOBILE, 6, "stem", weights=str(weights), options=OPTIONS))
    run = trainer(tmp_path)
    run.fit(task, data(photographs))
    run.save_checkpoint(tmp_path / "last.ckpt")
    weights.unlink()
    model = load(tmp_path / "last.ckpt")
    same(
        model.predict(photographs / "china.jpg", 0.0),
        vars(DetectionPredictor(task).predict(photographs / "china.jpg", 0.0)),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda: ObjectDetection(DigitFasterRCNN()), marks=pytest.mark.slow),
        lambda: RegionProposal(RegionProposalNet()),
    ],
    ids=["classes", "proposals"],
)
def test_digits_are_read_in_grey(build, tmp_path):
    digits, task = FieldOfMnistDataModule(4, 2, batch_size=2), build()
    run = trainer(tmp_path)
    run.fit(task, digits)
    run.save_checkpoint(tmp_path / "last.ckpt")
    model = load(tmp_path / "last.ckpt")
    sample = digits.dataset("test")[0]
    (expected,) = model.task.predict_step({"image": sample["image"][None]}, 0)
    grey = (sample["image"][0] * 255).round().byte().numpy()
    found = model.predict(grey, threshold=0.0)
    torch.testing.assert_close(found.boxes, expected["boxes"])
    names = {str(digit) for digit in range(10)} if "labels" in expected else {"object"}
    assert set(found.names) <= names
    found.plot()


@pytest.mark.slow
def test_a_checkpoint_without_names_has_numbers(trained, photographs, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    checkpoint = torch.load(trained, weights_only=True)
    del checkpoint["inference"]
    torch.save(checkpoint, tmp_path / "old.ckpt")
    model = load(tmp_path / "old.ckpt")
    found = model.predict(photographs / "china.jpg", threshold=0.0)
    assert found.names == tuple(map(str, found.labels.tolist()))
    model.predict(photographs / "china.jpg", threshold=0.0)
    assert caplog.text.count("has no class names: classes are numbers") == 1
    assert caplog.text.count("does not say how images are prepared") == 1


@pytest.mark.slow
def test_a_network_that_cannot_be_described_is_asked_for(photographs, tmp_path):
    class Mine(Detector):
        pass

    net = Mine(MOBILE, 6, "stem", options=OPTIONS)
    run = trainer(tmp_path)
    run.fit(ObjectDetection(net), data(photographs))
    run.save_checkpoint(tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match=r"last.ckpt does not describe the net of ObjectDetection.*net="):
        load(tmp_path / "last.ckpt")
    model = load(tmp_path / "last.ckpt", net=Mine(MOBILE, 6, "stem", options=OPTIONS))
    assert model.class_names == NAMES


@pytest.mark.slow
def test_a_trusted_checkpoint_is_the_same_model(trained, photographs):
    found = load(trained, trust=True).predict(photographs / "china.jpg", threshold=0.0)
    same(found, vars(load(trained).predict(photographs / "china.jpg", threshold=0.0)))


WRONG = {
    "categories": [[1, 2]], "preprocessing": {"channels": 7}, "task": "os.path.join",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("key", slow_except(["task"], WRONG))
def test_a_wrong_description_is_refused(trained, tmp_path, key):
    checkpoint = torch.load(trained, weights_only=True)
    checkpoint["inference"][key] = WRONG[key]
    torch.save(checkpoint, tmp_path / "wrong.ckpt")
    with pytest.raises(ValueError, match=r"categories of the checkpoint|no preparation of images|names 'os.path.join'"):
        load(tmp_path / "wrong.ckpt")


@pytest.mark.slow
def test_other_checkpoints_and_devices_are_named(trained, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*absent.ckpt"):
        load(tmp_path / "absent.ckpt")
    (tmp_path / "text.ckpt").write_text("x")
    with pytest.raises(CheckpointError, match=r"text.ckpt is damaged"):
        load(tmp_path / "text.ckpt")
    checkpoint = torch.load(trained, weights_only=True)
    other = "lightning_coordconv.segmentation.SemanticSegmentation"
    torch.save(checkpoint | {"inference": {"task": other}}, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match=r"is a checkpoint of SemanticSegmentation.* use lightning_coordconv.seg"):
        load(tmp_path / "other.ckpt")
    net = Detector(MOBILE, 7, "stem", options=OPTIONS)
    with pytest.raises(CheckpointError, match="holds weights of another architecture: size mismatch"):
        load(trained, net=net)
    for device in ("gpu", "cuda:99"):
        with pytest.raises(ValueError, match=f"there is no device '{device}'"):
            load(trained, device=device)


@pytest.mark.slow
def test_an_image_that_the_network_does_not_take_is_named(trained):
    model = load(trained)
    model.task.net = nn.Sequential(Stack(), nn.Conv2d(3, 2, 9))
    with pytest.raises(ValueError, match="the network does not take the image, prepared as 3 x 8 x 9"):
        model.predict(torch.rand(3, 8, 9))
