"""Tests that labels (of images, pixels, boxes) beyond the network's outputs and unequal class counts are refused."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lightning_coordconv.classification import ImageClassification
from lightning_coordconv.core import BaseDataModule
from lightning_coordconv.detection import ObjectDetection
from lightning_coordconv.segmentation import MaskFolderDataModule, SemanticSegmentation
from tests.detection.test_task import Answers

STAGES = ["fit", "validate", "test"]


class Samples(Dataset):
    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


class OnePixel(nn.Conv2d):
    def __init__(self):
        super().__init__(3, 3, 1)


def run(stage, task, samples, tmp_path, collate=None):
    loader = DataLoader(Samples(samples), batch_size=2, collate_fn=collate)
    trainer = Trainer(
        default_root_dir=tmp_path, accelerator="cpu", logger=False, enable_checkpointing=False, max_epochs=1,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    return getattr(trainer, stage)(task, loader)


def masked(mask):
    return {"image": torch.zeros(3, 2, 2), "mask": mask, "origin": torch.zeros(2), "size": torch.full((2,), 2)}


def lists(samples):
    return {key: [sample[key] for sample in samples] for key in samples[0]}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("stage", STAGES)
class TestRefused:
    @pytest.mark.parametrize("wrong", [3, 7, -1, -100, 2**40])
    @pytest.mark.parametrize("paths", [True, False])
    def test_of_an_image(self, stage, wrong, paths, tmp_path):
        samples = [{"image": torch.zeros(3, 4, 4), "label": label} for label in (0, 1, 2, wrong)]
        samples = [{**sample, "path": f"{i}.png"} if paths else sample for i, sample in enumerate(samples)]
        task = ImageClassification(nn.Sequential(OnePixel(), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
        name = "3.png" if paths else "sample 1 of a batch"
        with pytest.raises(ValueError, match=f"^{name} has the label {wrong}, but .* 3 classes: .* 0 to 2"):
            run(stage, task, samples, tmp_path)

    @pytest.mark.parametrize("wrong", [3, 254, -1, 2**15])
    def test_of_a_pixel(self, stage, wrong, tmp_path):
        masks = [torch.tensor([[0, 1], [2, 255]]), torch.tensor([[0, 255], [255, wrong]])]
        samples = [
            {
                "image": torch.zeros(3, 2, 2),
                "mask": mask,
                "origin": torch.zeros(2),
                "size": torch.full((2,), 2),
                "path": f"{i}.png",
            }
            for i, mask in enumerate(masks)
        ]
        with pytest.raises(ValueError, match=f"^1.png has the label {wrong}, but the network has 3 classes"):
            run(stage, SemanticSegmentation(OnePixel(), 3), samples, tmp_path)

    @pytest.mark.parametrize("wrong", [4, 90, 0, -1])
    def test_of_a_box(self, stage, wrong, tmp_path):
        box = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
        samples = [
            {"image": torch.zeros(3, 8, 8), "boxes": box, "labels": torch.tensor([label]), "path": f"{label}.png"}
            for label in (3, wrong)
        ]
        with pytest.raises(ValueError, match=f"^{wrong}.png has the label {wrong}, but .* 4 classes, with the backgr"):
            run(stage, ObjectDetection(Answers([])), samples, tmp_path, lists)

    @pytest.mark.parametrize("label", [0.5, True, 1j])
    def test_labels_that_are_no_integers(self, stage, label, tmp_path):
        samples = [{"image": torch.zeros(3, 4, 4), "label": torch.tensor(label)}]
        task = ImageClassification(nn.Sequential(OnePixel(), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
        with pytest.raises(ValueError, match=r"^labels must be integers, got (float|bool|complex)"):
            run(stage, task, samples, tmp_path)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_labels_of_the_network_and_pixels_to_ignore_are_allowed(tmp_path):
    masks = [torch.tensor([[0, 1], [2, 255]]), torch.full((2, 2), 255)]
    samples = [
        {"image": torch.zeros(3, 2, 2), "mask": mask, "origin": torch.zeros(2), "size": torch.full((2,), 2)}
        for mask in masks
    ]
    (measured,) = run("test", SemanticSegmentation(OnePixel(), 3), samples, tmp_path)
    assert measured["test/loss"] >= 0


def test_a_data_module_shows_labels_before_they_are_moved(tmp_path):
    """The meta device stands in for an accelerator, on which no label can be read."""

    task = ImageClassification(nn.Sequential(OnePixel(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).to("meta"))
    data = BaseDataModule()
    data.trainer = SimpleNamespace(lightning_module=task)
    batch = {"image": torch.zeros(2, 3, 4, 4), "label": torch.tensor([0, 3])}
    moved = {key: value.to("meta") for key, value in data.on_before_batch_transfer(batch, 0).items()}
    with pytest.raises(ValueError, match=r"^sample 1 of a batch has the label 3, but the network has 3 classes"):
        task.evaluate(moved)


@pytest.mark.parametrize(("name", "value"), [("num_classes", 5), ("ignore_index", 254)])
def test_classes_of_the_data_are_those_of_the_task(name, value, tmp_path):
    for kind, mode in (("images", "RGB"), ("masks", "L")):
        for split in ("train", "val"):
            (tmp_path / split / kind).mkdir(parents=True)
            Image.fromarray(np.zeros((4, 4, 3) if mode == "RGB" else (4, 4), np.uint8)).save(
                tmp_path / split / kind / "a.png"
            )
    data = MaskFolderDataModule(str(tmp_path), **{"num_classes": 3, name: value}, num_workers=0)
    own = {"num_classes": 3, "ignore_index": 255}[name]
    trainer = Trainer(
        default_root_dir=tmp_path, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, max_epochs=1,
    )  # fmt: skip
    with pytest.raises(ValueError, match=f"the task has {name}={own}, but MaskFolderDataModule has {name}={value}"):
        trainer.fit(SemanticSegmentation(OnePixel(), 3), data)


def test_a_network_of_other_outputs_than_classes_is_refused(tmp_path):
    samples = [
        {
            "image": torch.zeros(3, 2, 2),
            "mask": torch.zeros(2, 2, dtype=torch.long),
            "origin": torch.zeros(2),
            "size": torch.full((2,), 2),
        }
    ]
    with pytest.raises(ValueError, match="the network has 3 outputs, but the task has 2 classes"):
        run("test", SemanticSegmentation(OnePixel(), 2), samples, tmp_path)
