"""Tests of the object detection task: metrics against pycocotools, losses, learning rates, learning, and two ranks."""

import contextlib
import io
import math
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader

from lightning_coordconv.detection import (
    DigitFasterRCNN,
    FieldOfMnistDataModule,
    ObjectDetection,
    PrecisionRecallFigure,
    RegionProposal,
    RegionProposalNet,
)
from tests.classification.test_task import quiet
from tests.detection.test_metrics import random_boxes


class Answers(nn.Module):
    """A detector that answers with fixed boxes for the images, which hold their own number."""

    num_classes = 4

    def __init__(self, answers: list[dict[str, torch.Tensor]]) -> None:
        super().__init__()
        self.answers = answers
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images: list[torch.Tensor], targets: object = None) -> object:
        if targets is not None:
            return {"loss_a": self.weight.sum(), "loss_b": 2 * self.weight.sum()}
        return [self.answers[int(image.flatten()[0])] for image in images]


def scene(images: int = 6) -> tuple[list[dict], list[dict]]:
    """Random truth, and detections that are near it."""
    generator = torch.Generator().manual_seed(0)
    truth, found = [], []
    for _ in range(images):
        boxes = random_boxes(4, generator) * 60
        labels = torch.randint(1, 4, (4,), generator=generator)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(1) * 0.8
        truth.append({"boxes": boxes, "labels": labels, "area": area, "iscrowd": torch.tensor([0, 0, 0, 1])})
        noise = torch.randn(4, 4, generator=generator)
        found.append({"boxes": boxes + noise, "labels": labels, "scores": torch.rand(4, generator=generator)})
    truth.append({key: value[:0] for key, value in truth[0].items()})  # an image without objects
    found.append({key: value[:1] for key, value in found[0].items()})
    return truth, found


def pycocotools_says(truth: list[dict], found: list[dict]) -> list[float]:
    """COCO's twelve numbers, straight from pycocotools."""
    annotations = [
        {"id": 100 * image + k + 1, "image_id": image, "category_id": int(label), "area": float(area),
         "iscrowd": int(crowd), "bbox": [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()]}
        for image, objects in enumerate(truth)
        for k, (box, label, area, crowd) in enumerate(zip(*objects.values(), strict=True))
    ]  # fmt: skip
    results = [
        {"image_id": image, "category_id": int(label), "score": float(score),
         "bbox": [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()]}
        for image, boxes in enumerate(found)
        for box, label, score in zip(*boxes.values(), strict=True)
    ]  # fmt: skip
    return coco_numbers([{"id": image} for image in range(len(truth))], annotations, results, "bbox", 3)


def coco_numbers(images: list, annotations: list, results: list, kind: str, num_categories: int) -> list[float]:
    """Return pycocotools' twelve numbers of boxes (kind ``bbox``) or masks (``segm``) in COCO's format."""
    coco = COCO()
    categories = [{"id": number + 1} for number in range(num_categories)]
    coco.dataset = {"images": images, "annotations": annotations, "categories": categories}
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats.tolist()


NAMES = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large",
         "mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large")  # fmt: skip


def test_metrics_are_pycocotools_s(tmp_path):
    truth, found = scene()
    batches = [
        {"image": [torch.full((3, 8, 8), float(image)) for image in part], "image_id": list(part)}
        | {key: [truth[image][key] for image in part] for key in truth[0]}
        for part in (range(4), range(4, len(truth)))
    ]
    logged = quiet(tmp_path).test(ObjectDetection(Answers(found)), DataLoader(batches, batch_size=None), verbose=False)[
        0
    ]
    expected = [math.nan if value < 0 else value for value in pycocotools_says(truth, found)]  # -1 is no object
    assert [logged[f"test/{name}"] for name in NAMES] == pytest.approx(expected, abs=1e-6, nan_ok=True)
    assert math.isnan(logged["test/map_large"])
    assert set(logged) == {f"test/{name}" for name in NAMES}


def test_losses_are_summed_and_named(tmp_path):
    truth, found = scene(1)
    batch = {"image": [torch.zeros(3, 8, 8)], "boxes": [truth[0]["boxes"]], "labels": [truth[0]["labels"]]}
    trainer = quiet(tmp_path, max_epochs=1)
    net = ObjectDetection(Answers(found), optimizer=lambda groups: torch.optim.SGD(groups, lr=0.0))
    loader = DataLoader([batch], batch_size=None)
    trainer.fit(net, loader, loader)
    logged = {name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith("train")}
    assert logged == {"train/loss": 3.0, "train/loss_a": 1.0, "train/loss_b": 2.0}
    assert set(trainer.progress_bar_metrics) == {"train/loss", "val/map"}


def test_a_detector_can_have_one_loss(tmp_path):
    class OneLoss(Answers):
        def forward(self, images, targets=None):
            return super().forward(images) if targets is None else {"loss": 3 * self.weight.sum()}

    truth, found = scene(1)
    batch = {"image": [torch.zeros(3, 8, 8)], "boxes": [truth[0]["boxes"]], "labels": [truth[0]["labels"]]}
    trainer, loader = quiet(tmp_path, max_epochs=1), DataLoader([batch], batch_size=None)
    trainer.fit(ObjectDetection(OneLoss(found)), loader, loader)
    assert trainer.callback_metrics["train/loss"] == 3


@pytest.mark.parametrize("named", [True, False])
def test_losses_keep_their_names_in_whatever_order_they_come(named, tmp_path):
    class Losses(Answers):
        number = 0

        def forward(self, images, targets=None):
            if targets is None:
                return super().forward(images)
            self.number += 1
            losses = {"box": 100 * self.weight.sum(), "cls": self.weight.sum()}
            if self.number % 2:
                return losses
            return dict(reversed(losses.items())) if named else {"mask": losses["box"], "cls": losses["cls"]}

    truth, found = scene(1)
    batch = {"image": [torch.zeros(3, 8, 8)], "boxes": [truth[0]["boxes"]], "labels": [truth[0]["labels"]]}
    task = ObjectDetection(Losses(found), optimizer=lambda groups: torch.optim.SGD(groups, lr=0.0))
    trainer, loader = quiet(tmp_path, max_epochs=1), DataLoader([batch] * 4, batch_size=None)
    refused = pytest.raises(ValueError, match="Losses returned the losses cls, mask, and in the batch before box, cls")
    with nullcontext() if named else refused:
        trainer.fit(task, loader, loader)
        assert (trainer.callback_metrics["train/box"], trainer.callback_metrics["train/cls"]) == (100, 1)


def test_a_category_without_output_is_named_before_training(tmp_path):
    data = FieldOfMnistDataModule(num_images=4, num_eval_images=2)
    message = (
        "outputs for 4 classes, with the background, but the data has 10 categories: set its num_classes to at least 11"
    )
    with pytest.raises(ValueError, match=message):
        quiet(tmp_path, max_epochs=1, num_sanity_val_steps=0).fit(ObjectDetection(Answers([])), data)


def test_coordinate_weights_have_a_rate_of_their_own():
    net = ObjectDetection(
        DigitFasterRCNN(),
        coordinate_lr=10.0,
        optimizer=lambda groups: torch.optim.SGD(groups, lr=0.1, weight_decay=0.5),
    )
    others, coordinates = net.configure_optimizers().param_groups
    assert (others["lr"], others["weight_decay"]) == (0.1, 0.5)
    assert (coordinates["lr"], coordinates["weight_decay"]) == (1.0, 0.0)
    assert [weight.shape[1] for weight in coordinates["params"]] == [2, 2, 2]
    assert "lr_scale" not in coordinates
    with pytest.raises(ValueError, match="coordinate_lr must not be negative, got -1"):
        ObjectDetection(DigitFasterRCNN(), coordinate_lr=-1.0)


@pytest.mark.parametrize(("batches", "epochs", "accumulate"), [(10, 2, 1), (3, 4, 2)])
def test_the_schedule_spans_the_steps_of_the_trainer(tmp_path, batches, epochs, accumulate):
    truth, found = scene(1)
    batch = {"image": [torch.zeros(3, 8, 8)], "boxes": [truth[0]["boxes"]], "labels": [truth[0]["labels"]]}
    net = ObjectDetection(Answers(found), warmup=0.25, optimizer=lambda groups: torch.optim.SGD(groups, lr=1.0))
    trainer = quiet(tmp_path, max_epochs=epochs, limit_val_batches=0, accumulate_grad_batches=accumulate)
    rates = []
    net.on_before_optimizer_step = lambda optimizer: rates.append(optimizer.param_groups[0]["lr"])
    trainer.fit(net, DataLoader([batch] * batches, batch_size=None), DataLoader([batch], batch_size=None))
    steps = epochs * -(-batches // accumulate)
    assert len(rates) == steps
    assert rates.index(max(rates)) == steps // 4
    assert max(rates) == pytest.approx(1.0)
    assert rates[0] == pytest.approx(1 / (1 + steps // 4))
    assert 0 < rates[-1] < 0.1
    assert net.optimizers().param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-6)


def test_wrong_warm_ups_are_named(tmp_path):
    with pytest.raises(ValueError, match="warmup must be from 0 to less than 1, got 500"):
        ObjectDetection(Answers([]), warmup=500)
    with pytest.raises(ValueError, match=r"warmup=0.1 and lr_scheduler exclude each other"):
        ObjectDetection(Answers([]), warmup=0.1, lr_scheduler=lambda optimizer: None)
    truth, found = scene(1)
    batch = {"image": [torch.zeros(3, 8, 8)], "boxes": [truth[0]["boxes"]], "labels": [truth[0]["labels"]]}
    endless = quiet(tmp_path, max_epochs=-1, limit_val_batches=0)
    with pytest.raises(ValueError, match=r"warmup needs a run with an end: set trainer.max_epochs"):
        endless.fit(ObjectDetection(Answers(found), warmup=0.1), *[DataLoader([batch], batch_size=None)] * 2)


@pytest.mark.slow
def test_the_whole_detector_learns_eight_images(tmp_path: Path):
    seed_everything(0)
    data = FieldOfMnistDataModule(num_images=8, num_eval_images=1, clip=True, batch_size=8)
    net = ObjectDetection(DigitFasterRCNN(), optimizer=lambda groups: torch.optim.AdamW(groups, lr=0.003))
    quiet(tmp_path, max_epochs=70, limit_val_batches=0, gradient_clip_val=1.0).fit(net, data)
    (result,) = quiet(tmp_path).test(net, data.train_dataloader(), verbose=False)
    assert result["test/map_50"] > 0.9
    assert result["test/map"] > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("kind", [RegionProposal, ObjectDetection])
def test_two_ranks_measure_what_one_does(tmp_path: Path, kind):
    results = []
    callbacks = [PrecisionRecallFigure()] if kind is ObjectDetection else []
    for ranks in ({"devices": 1}, {"devices": 2, "strategy": "ddp_fork"}):
        seed_everything(0)
        net = kind(RegionProposalNet() if kind is RegionProposal else DigitFasterRCNN())
        data = FieldOfMnistDataModule(num_images=8, num_eval_images=21, eval_batch_size=6, clip=True)
        logger = CSVLogger(tmp_path, "", str(ranks["devices"]))
        trainer: Trainer = quiet(tmp_path, logger=logger, callbacks=callbacks, **ranks)
        results += trainer.test(net, data, verbose=False)
    alone, together = ({key: result[key] for key in result if "iou" in key or "ma" in key} for result in results)
    assert len(alone) > 2
    assert together == pytest.approx(alone, abs=1e-6, nan_ok=True)
    if callbacks:
        drawn = [(tmp_path / devices / "figures" / "precision_recall_test.png").read_bytes() for devices in "12"]
        assert drawn[0] == drawn[1]
