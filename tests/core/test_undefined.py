"""Tests that NaN or infinite predictions raise an error that names the image, and make metrics of pixels NaN."""

import math

import pytest
import torch
from pytorch_lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader

from lightning_coordconv.classification import ClassificationPredictor, ImageClassification
from lightning_coordconv.core.undefined import UndefinedOutputError, defined_outputs, is_undefined
from lightning_coordconv.detection import DetectionPredictor, Detector, ObjectDetection
from lightning_coordconv.segmentation import SegmentationPredictor, SemanticSegmentation

IMAGES = torch.rand(2, 3, 64, 64)


class Broken(nn.Conv2d):
    """Logits of three classes, one number of which is not finite."""

    def __init__(self, number: float, pooled: bool) -> None:
        super().__init__(3, 3, 1)
        self.number, self.pooled = number, pooled

    def forward(self, image):
        logits = super().forward(image)
        logits = logits.mean((2, 3)) if self.pooled else logits
        logits[..., -1] = self.number
        return logits


def broken_detector(number: float) -> Detector:
    net = Detector("fasterrcnn_mobilenet_v3_large_320_fpn", 3, weights=None, weights_backbone=None)
    with torch.no_grad():
        next(net.parameters()).fill_(number)
    return net


CASES = {
    "classification": lambda number: ClassificationPredictor(ImageClassification(Broken(number, True)), "cpu"),
    "segmentation": lambda number: SegmentationPredictor(SemanticSegmentation(Broken(number, False), 3), "cpu"),
    "detection": lambda number: DetectionPredictor(ObjectDetection(broken_detector(number)), "cpu"),
}


@pytest.mark.slow
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("case", CASES)
def test_an_image_without_a_prediction_is_named(case, number):
    model = CASES[case](number)
    with pytest.raises(UndefinedOutputError, match=r"^image 0: .* returned NaN or infinity, so there is no prediction"):
        model.predict(IMAGES)


def test_the_command_predict_writes_no_class(tmp_path):
    task = ImageClassification(Broken(float("nan"), True))
    loader = DataLoader([{"image": image, "label": 0} for image in IMAGES])
    run = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path)
    with pytest.raises(UndefinedOutputError, match="Broken returned NaN or infinity"):
        run.predict(task, loader)


def test_hooks_are_gone_after_the_context():
    net = nn.Sequential(nn.Linear(2, 2))
    wrong = torch.full((1, 2), torch.nan)
    with pytest.raises(UndefinedOutputError), defined_outputs(net):
        net(wrong)
    assert net(wrong).isnan().all()


def test_masked_classes_are_defined():
    values = torch.tensor([0.0, -torch.inf, torch.inf, torch.nan])
    assert is_undefined(values).tolist() == [False, False, True, True]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_metrics_of_pixels_without_a_class_are_undefined(number):
    task = SemanticSegmentation(Broken(number, False), 3)
    batch = {"image": IMAGES, "mask": torch.ones(2, 64, 64, dtype=torch.long)}
    batch |= {"origin": torch.zeros(2, 2), "size": torch.full((2, 2), 64)}
    outputs = task.evaluate(batch)
    assert set(outputs["preds"][..., -1].unique().tolist()) == {-1}
    for metric in task.val_metrics.values():
        metric.update(outputs["preds"], outputs["target"])
        assert metric.compute().isnan()
        metric.reset()
        ignored = outputs["target"].masked_fill(outputs["preds"] == -1, 255)
        metric.update(outputs["preds"], ignored)
        assert metric.compute().isfinite()


def broken_parts(net: nn.Module) -> list[str]:
    """Names of a part of the backbone, and of parts behind it, whose weights are set to NaN."""
    return [
        next(name for name, _ in net.named_parameters() if part in name) for part in ("backbone", "rpn", "roi_heads")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("part", range(3))
@pytest.mark.parametrize("stage", ["val", "test"])
def test_metrics_of_a_detector_that_returns_nan_are_nan(part, stage, tmp_path):
    """torchvision drops boxes that are NaN, so that the metrics would be those of no box."""
    net = broken_detector(0.01)
    with torch.no_grad():
        net.get_parameter(broken_parts(net)[part]).fill_(torch.nan)
    boxes, area = torch.tensor([[8.0, 8, 40, 40]]), torch.tensor([1024.0])
    sample = {
        "image": IMAGES[0],
        "boxes": boxes,
        "labels": torch.tensor([1]),
        "area": area,
        "iscrowd": torch.tensor([0]),
    }
    loader = DataLoader([sample], collate_fn=lambda samples: {key: [each[key] for each in samples] for key in sample})
    run = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path)
    (logged,) = (run.validate if stage == "val" else run.test)(ObjectDetection(net), loader, verbose=False)
    assert logged
    assert all(math.isnan(value) for value in logged.values())
