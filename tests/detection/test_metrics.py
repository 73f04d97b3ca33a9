"""Tests of the mean IoU of proposals and true boxes, with tied scores too, and of COCO's precision-recall."""

import statistics

import pytest
import torch

from lightning_coordconv.detection import (
    AllPairsIoU,
    BestBoxIoU,
    ClosestIoU,
    CocoAveragePrecision,
    MatchedIoU,
    TiedBestBoxIoU,
    TiedBestBoxIoUError,
)


def iou(a: list[float], b: list[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def random_boxes(count: int, generator: torch.Generator) -> torch.Tensor:
    corner, size = torch.rand(2, count, 2, generator=generator).unbind()
    return torch.cat([corner, corner + size + 0.1], dim=1)


def test_against_loops():
    generator = torch.Generator().manual_seed(0)
    preds = [{"boxes": random_boxes(count, generator)} for count in (10, 4, 1, 3)]
    target = [{"boxes": random_boxes(count, generator)} for count in (2, 5, 1, 0)]
    best, every, closest = [], [], []
    for proposed, true in zip(preds[:3], target[:3], strict=True):  # the last image has no object
        table = [[iou(p, t) for t in true["boxes"].tolist()] for p in proposed["boxes"].tolist()]
        best.append(max(table[0]))
        every.append(sum(map(sum, table)) / (len(table) * len(table[0])))
        closest.append(sum(map(max, table)) / len(table))
    for metric, expected in ((BestBoxIoU(), best), (AllPairsIoU(), every), (ClosestIoU(), closest)):
        metric.update(preds[:1], target[:1])
        metric.update(preds[1:], target[1:])
        assert metric.compute().item() == pytest.approx(sum(expected) / 3, abs=1e-6)


def test_nothing_proposed_covers_nothing():
    metric = BestBoxIoU()
    metric.update([{"boxes": torch.zeros(0, 4)}], [{"boxes": torch.tensor([[0.0, 0.0, 1.0, 1.0]])}])
    assert metric.compute() == 0


def test_pairs():
    generator = torch.Generator().manual_seed(1)
    preds, target = random_boxes(5, generator), random_boxes(5, generator)
    metric = MatchedIoU()
    metric.update(preds, target)
    metric.update(preds[:0], target[:0])
    expected = [iou(a, b) for a, b in zip(preds.tolist(), target.tolist(), strict=True)]
    assert metric.compute().item() == pytest.approx(sum(expected) / 5, abs=1e-6)


def test_pairs_without_a_true_box_count_for_nothing():
    metric = MatchedIoU()
    boxes = random_boxes(6, torch.Generator().manual_seed(2)).view(2, 3, 4)
    target = boxes.clone()
    target[0, 1:] = torch.nan
    target[1] *= 2
    metric.update(boxes, target)
    expected = [1.0] + [iou(a, b) for a, b in zip(boxes[1].tolist(), target[1].tolist(), strict=True)]
    assert metric.compute().item() == pytest.approx(sum(expected) / 4, abs=1e-6)
    metric.update(boxes * torch.nan, boxes)
    assert metric.compute().isnan()


def test_ties_against_draws():
    generator = torch.Generator().manual_seed(0)
    preds, target, drawn = [], [], []
    for image in range(30):
        boxes, true = random_boxes(10, generator), random_boxes(3, generator)
        tied = 1 + image % 10
        scores = torch.cat(
            [1 - torch.rand(tied, generator=generator).sort().values * 0.004, torch.full((10 - tied,), 0.9)]
        )
        preds.append({"boxes": boxes, "scores": scores})
        target.append({"boxes": true})
        drawn.append([max(iou(box, other) for other in true.tolist()) for box in boxes[:tied].tolist()])
    best, mean, error = BestBoxIoU(), TiedBestBoxIoU(), TiedBestBoxIoUError()
    for metric in (best, mean, error):
        metric.update(preds[:20], target[:20])
        metric.update(preds[20:], target[20:])
    values = [statistics.mean(own) for own in drawn]
    assert mean.compute().item() == pytest.approx(statistics.mean(values), abs=1e-6)
    assert error.compute().item() == pytest.approx(statistics.stdev(values) / 30**0.5, abs=1e-6)
    assert best.compute().item() == pytest.approx(statistics.mean(own[0] for own in drawn), abs=1e-6)


def test_few_images_have_no_standard_error():
    error = TiedBestBoxIoUError()
    error.update([{"boxes": torch.rand(1, 4), "scores": torch.ones(1)}], [{"boxes": torch.rand(1, 4)}])
    assert error.compute().isnan()
    with pytest.raises(ValueError, match="TiedBestBoxIoUError needs the scores of the proposals"):
        error.update([{"boxes": torch.rand(1, 4)}], [{"boxes": torch.rand(1, 4)}])


def test_precision_and_recall_by_hand():
    """The best and the worst of three detections are right; precision is the best at this recall or a higher one."""
    true = torch.tensor([[0.0, 0, 40, 40], [50, 50, 90, 90]])
    found = torch.tensor([[0.0, 0, 40, 40], [200, 200, 240, 240], [50, 50, 90, 90]])
    metric = CocoAveragePrecision()
    metric.update(
        [{"boxes": found, "labels": torch.tensor([2, 2, 2]), "scores": torch.tensor([0.9, 0.8, 0.7])},
         {"boxes": found[:1], "labels": torch.tensor([5]), "scores": torch.tensor([0.5])}],
        [{"boxes": true, "labels": torch.tensor([2, 2])}, {"boxes": true[:0], "labels": torch.tensor([]).long()}],
    )  # fmt: skip
    curves = metric.precision_recall()
    assert list(curves) == [2]  # class 5 has no true box
    torch.testing.assert_close(curves[2].float(), torch.tensor([1.0] * 51 + [2 / 3] * 50))
    assert metric.compute()["map_50"].item() == pytest.approx(curves[2].mean().item())
    assert "precision" not in metric.compute()


def test_wrong_numbers_are_named():
    with pytest.raises(ValueError, match="proposals for 1 images, but true boxes for 2"):
        BestBoxIoU().update([{"boxes": torch.zeros(1, 4)}], [{"boxes": torch.zeros(1, 4)}] * 2)
    with pytest.raises(ValueError, match=r"pairs of boxes, got \(1, 4\) and \(2, 4\)"):
        MatchedIoU().update(torch.zeros(1, 4), torch.zeros(2, 4))
