"""Region proposals against loops and hand-made numbers; torchvision's detectors through COCO's metrics."""

import math
from pathlib import Path

import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from pytorch_lightning import Trainer, seed_everything
from torch import nn
from torch.utils.data import DataLoader

from lightning_coordconv.detection import (
    DigitFasterRCNN,
    FieldOfMnistDataModule,
    ObjectDetection,
    RegionProposal,
    RegionProposalNet,
)
from tests.classification.test_task import quiet
from tests.detection.test_metrics import iou, random_boxes


class Proposals(nn.Module):
    """Answers with fixed anchors, offsets and logits."""

    def __init__(self, *answer: torch.Tensor) -> None:
        super().__init__()
        self.answer = answer
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.answer


def task(**arguments: object) -> RegionProposal:
    return RegionProposal(nn.Linear(1, 1), **arguments)


def matched(boxes: list[list[float]], true: list[list[float]], side: float) -> list[int]:
    """The paper's rule, box by box."""
    labels = []
    for box in boxes:
        overlaps = [iou(box, other) for other in true]
        inside = min(box) >= 0 and max(box) <= side
        if inside and max(overlaps) >= 0.5:
            labels.append(overlaps.index(max(overlaps)))
        else:
            labels.append(-1 if inside and max(overlaps) < 0.1 else -2)
    for number, other in enumerate(true):
        overlaps = [iou(box, other) for box in boxes]
        if max(overlaps) > 0:
            labels[overlaps.index(max(overlaps))] = number
    return labels


def test_matching_against_loops():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        true = random_boxes(3, generator) * 10
        around = true[torch.arange(60) % 3] + torch.randn(60, 4, generator=generator) * 0.7
        boxes = torch.cat([around.sort(1).values[:, [0, 1, 2, 3]], random_boxes(60, generator) * 10])
        boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + 0.5)
        found = task().match(boxes, true, torch.full((4,), 16.0)).tolist()
        assert found == matched(boxes.tolist(), true.tolist(), 16.0)
        assert {-1, -2, 0, 1, 2} == set(found)


def test_an_image_without_objects_has_negatives_alone():
    boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0], [-1.0, 0.0, 4.0, 4.0]])
    assert task().match(boxes, torch.zeros(0, 4), torch.full((4,), 8.0)).tolist() == [-1, -2]


@pytest.mark.parametrize(("unseen", "first"), [(False, -1), (True, 0)])
def test_a_box_that_nothing_overlaps(unseen, first):
    boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0], [4.0, 4.0, 8.0, 8.0]])
    far = torch.tensor([[-30.0, -30.0, -10.0, -10.0]])
    assert task(match_unseen=unseen).match(boxes, far, torch.full((4,), 8.0)).tolist() == [first, -1]


@pytest.mark.parametrize("box_loss", ["authors", "smooth_l1"])
def test_losses_by_hand(box_loss):
    anchors = torch.tensor([[0.0, 0.0, 10.0, 20.0], [30.0, 30.0, 40.0, 40.0], [50.0, 50.0, 60.0, 60.0]])
    true = torch.tensor([[1.0, 0.0, 11.0, 20.0]])
    offsets = torch.zeros(1, 3, 4)
    offsets[0, 0, 1] = 0.25
    logits = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]])
    batch = {"image": torch.zeros(1, 1, 64, 64), "boxes": [true]}
    outputs = RegionProposal(Proposals(anchors, offsets, logits), box_loss=box_loss).train().evaluate(batch)
    box = 0.1**2 + 0.25**2  # one positive: x is off by a tenth of the width, y by a quarter of the height
    score = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-2)) + math.log(2)) / 3
    assert outputs["box"].item() == pytest.approx(box / 2 if box_loss == "smooth_l1" else box, rel=1e-5)
    assert outputs["score"].item() == pytest.approx(score, rel=1e-5)
    assert outputs["loss"].item() == pytest.approx(outputs["box"].item() + score, rel=1e-5)
    assert outputs["preds"].tolist() == [[0.0, 5.0, 10.0, 25.0]]  # as moved
    assert outputs["target"].tolist() == true.tolist()


def test_beyond_one_the_authors_loss_is_the_distance():
    assert task()._box_loss(torch.tensor([[2.0, -3.0, 0.5, 1.0]])).item() == 2 + 3 + 0.25 + 1
    assert task()._box_loss(torch.zeros(0, 4)).item() == 0


def test_at_most_six_positives_and_twelve_in_all():
    positive, negative = task()._sample([torch.arange(100) % 3 - 1, torch.full((100,), -1), torch.full((100,), -2)])
    assert positive.sum(1).tolist() == [6, 0, 0]
    assert negative.sum(1).tolist() == [6, 12, 0]
    assert not (positive & negative).any()
    assert (torch.arange(100) % 3 - 1)[positive[0]].min() >= 0


def test_loss_is_finite_without_objects():
    batch = {"image": torch.rand(2, 1, 64, 64), "boxes": [torch.zeros(0, 4)] * 2}
    outputs = RegionProposal(RegionProposalNet()).train().evaluate(batch)
    assert outputs["box"] == 0
    assert torch.isfinite(outputs["loss"])


def test_suppression_against_a_loop():
    generator = torch.Generator().manual_seed(0)
    boxes = random_boxes(80, generator)
    logits = torch.randn(1, 80, 2, generator=generator)
    found = task(nms_threshold=0.3).propose(boxes[None], logits)[0]
    scores = logits[0].softmax(1)[:, 0]
    kept: list[int] = []
    for candidate in scores.argsort(descending=True).tolist():
        if all(iou(boxes[candidate].tolist(), boxes[other].tolist()) <= 0.3 for other in kept):
            kept.append(candidate)
    assert torch.equal(found["boxes"], boxes[kept[:10]])
    assert torch.equal(found["scores"], scores[kept[:10]])


def test_wrong_loss_is_named():
    with pytest.raises(ValueError, match="box_loss must be 'authors' or 'smooth_l1', got 'l1'"):
        task(box_loss="l1")


@pytest.mark.slow
def test_proposals_learn(tmp_path):
    """Anchors alone, before training, propose boxes that cover little."""
    seed_everything(0)
    net = RegionProposal(RegionProposalNet(), optimizer=lambda groups: torch.optim.Adam(groups, lr=0.002))
    data = FieldOfMnistDataModule(num_images=800, num_eval_images=100, num_digits=1, canvas=64, batch_size=8)
    trainer = quiet(tmp_path, max_epochs=1)
    (before,) = trainer.test(net, data, verbose=False)
    trainer.fit(net, data)
    (after,) = trainer.test(net, data, verbose=False)
    assert before["test/best_iou"] < 0.3
    assert after["test/best_iou"] > 0.4
    assert after["test/box"] + after["test/score"] == pytest.approx(after["test/loss"], rel=1e-5)


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
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image} for image in range(len(truth))],
        "annotations": annotations,
        "categories": [{"id": label} for label in (1, 2, 3)],
    }
    coco.createIndex()
    evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
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
    assert [logged[f"test/{name}"] for name in NAMES] == pytest.approx(pycocotools_says(truth, found), abs=1e-6)
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


def test_a_label_without_output_is_named():
    net = ObjectDetection(Answers([]))
    with pytest.raises(ValueError, match="tells 4 classes apart, with the background, but there is a label 6: set its"):
        net._check_labels([{"labels": torch.tensor([1, 6])}, {"labels": torch.zeros(0)}])


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
    for ranks in ({"devices": 1}, {"devices": 2, "strategy": "ddp_fork"}):
        seed_everything(0)
        net = kind(RegionProposalNet() if kind is RegionProposal else DigitFasterRCNN())
        data = FieldOfMnistDataModule(num_images=8, num_eval_images=21, eval_batch_size=6, clip=True)
        trainer: Trainer = quiet(tmp_path, **ranks)
        results += trainer.test(net, data, verbose=False)
    alone, together = ({key: result[key] for key in result if "iou" in key or "ma" in key} for result in results)
    assert len(alone) > 2
    assert together == pytest.approx(alone, abs=1e-6)
