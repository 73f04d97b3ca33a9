"""Tests of the coordinate metrics: distance, accuracy and IoU against plain Python, over ranks, and wrong arguments."""

import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics import MetricCollection

from lightning_coordconv.coordinates import PixelDistance, PixelIoU, PositionAccuracy, pixel_distance, pixel_iou

points = st.lists(st.tuples(*[st.integers(0, 63)] * 4), min_size=1, max_size=20)


@pytest.mark.slow
@settings(max_examples=50)
@given(points)
def test_distances_and_accuracy(rows):
    table = torch.tensor(rows)
    preds, target = table[:, :2], table[:, 2:]
    for norm in (1, 2):
        metric = PixelDistance(norm)
        for start in range(0, len(rows), 3):
            metric.update(preds[start : start + 3], target[start : start + 3])
        expected = [abs(a - c) + abs(b - d) if norm == 1 else math.hypot(a - c, b - d) for a, b, c, d in rows]
        assert metric.compute().item() == pytest.approx(sum(expected) / len(rows), rel=1e-5)
    metric = PositionAccuracy()
    metric.update(preds, target)
    assert metric.compute().item() == pytest.approx(sum((a, b) == (c, d) for a, b, c, d in rows) / len(rows))


def test_tolerance_is_inclusive_and_per_coordinate():
    metric = PositionAccuracy(tolerance=0.5)
    metric.update(torch.tensor([[1.5, 2.5], [1.6, 2.0], [1.0, 2.0]]), torch.tensor([[1, 2], [1, 2], [1, 2]]))
    assert metric.compute().item() == pytest.approx(2 / 3)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=30))
def test_iou(pixels):
    predicted = {i for i, (probability, _) in enumerate(pixels) if probability > 0.5}
    true = {i for i, (_, target) in enumerate(pixels) if target}
    expected = len(predicted & true) / len(predicted | true) if predicted | true else math.nan
    probabilities, target = torch.tensor([p for p, _ in pixels]), torch.tensor([float(t) for _, t in pixels])
    assert pixel_iou(probabilities[None], target[None]).item() == pytest.approx(expected, nan_ok=True)


def test_iou_is_averaged_over_images_not_pixels():
    metric = PixelIoU()
    metric.update(torch.tensor([[1.0, 0, 0, 0], [1.0, 1, 1, 1]]), torch.tensor([[0.0, 0, 0, 1], [1.0, 1, 1, 1]]))
    assert metric.compute().item() == pytest.approx(0.5)


def test_sums_do_not_saturate():
    metric = PixelDistance()
    metric.total += 2.0**25
    metric.count += 2**25
    metric.update(torch.zeros(1, 2), torch.zeros(1, 2))
    assert metric.count == 2**25 + 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PixelDistance(norm=3), "norm must be one of 1, 2, got 3"),
        (lambda: pixel_distance(torch.zeros(1, 2), torch.zeros(1, 2), norm=0), "norm must be one of 1, 2, got 0"),
        (lambda: pixel_distance(torch.zeros(3, 2), torch.zeros(2, 2)), r"got \(3, 2\) and \(2, 2\)"),
        (lambda: PositionAccuracy().update(torch.zeros(2), torch.zeros(2)), r"got \(2,\) and \(2,\)"),
        (lambda: PositionAccuracy(tolerance=-1), "tolerance must be at least 0, got -1"),
        (lambda: pixel_iou(torch.zeros(1, 4), torch.zeros(1, 5)), r"got \(1, 4\) and \(1, 5\)"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def _rank(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", f"file://{folder}/store", world_size=2, rank=rank)
    metrics = MetricCollection(
        {"accuracy": PositionAccuracy(), "distance": PixelDistance(), "manhattan": PixelDistance(1)}
    )
    preds, target = torch.load(f"{folder}/data.pt", weights_only=True)
    share = slice(0, 7) if rank == 0 else slice(7, None)  # uneven on purpose
    metrics.update(preds[share], target[share])
    torch.save({name: value.item() for name, value in metrics.compute().items()}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_ranks_agree_with_a_single_process(tmp_path: Path):
    generator = torch.Generator().manual_seed(0)
    preds, target = (torch.randint(0, 4, (10, 2), generator=generator) for _ in range(2))
    torch.save((preds, target), tmp_path / "data.pt")
    torch.multiprocessing.spawn(_rank, args=(str(tmp_path),), nprocs=2)
    alone = {"accuracy": PositionAccuracy(), "distance": PixelDistance(), "manhattan": PixelDistance(1)}
    for name, metric in alone.items():
        metric.update(preds, target)
        for rank in (0, 1):
            assert torch.load(tmp_path / f"{rank}.pt")[name] == pytest.approx(metric.compute().item(), abs=1e-7)
