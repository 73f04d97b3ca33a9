"""Tests of metrics that are means over samples: without samples, with NaN predictions, over ranks and batch sizes."""

import math
import re

import pytest
import torch

from lightning_coordconv.classification import TopKAccuracy
from lightning_coordconv.coordinates import PixelDistance, PixelIoU, PositionAccuracy
from lightning_coordconv.core import MeanTerms, SampleMean

pytestmark = pytest.mark.filterwarnings("ignore:The ``compute`` method of metric .* was called before:UserWarning")

METRICS = {
    PixelDistance: (torch.zeros(0, 2), torch.zeros(0, 2)),
    PositionAccuracy: (torch.zeros(0, 2), torch.zeros(0, 2)),
    PixelIoU: (torch.zeros(0, 4, 4), torch.zeros(0, 4, 4)),
    TopKAccuracy: (torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)),
}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.__name__)
def test_a_metric_of_nothing_is_nan(metric):
    empty = metric()
    assert math.isnan(empty.compute())
    empty.reset()
    empty.update(*METRICS[metric])  # a batch without samples
    assert math.isnan(empty.compute())


def test_terms_of_nothing_are_nan():
    assert math.isnan(MeanTerms().compute())


@pytest.mark.parametrize("metric", [PixelDistance, PositionAccuracy], ids=lambda metric: metric.__name__)
def test_of_predictions_that_are_nan_a_metric_is_nan(metric):
    broken = metric()
    broken.update(torch.tensor([[0.0, math.nan], [0.0, 0.0]]), torch.zeros(2, 2))
    assert math.isnan(broken.compute())


def test_ranks_and_batches_of_any_size_give_the_mean_over_samples():
    generator = torch.Generator().manual_seed(0)
    preds, target = torch.randint(0, 4, (2, 30, 2), generator=generator)
    whole = PositionAccuracy()
    whole.update(preds, target)
    parts = [PositionAccuracy() for _ in range(3)]
    for part, share in zip(parts, ((0, 1), (1, 18), (18, 30)), strict=True):
        part.update(preds[slice(*share)], target[slice(*share)])
    merged = PositionAccuracy()
    for part in parts:
        merged.merge_state(part)
    assert merged.compute() == whole.compute() == (preds == target).all(1).double().mean().float()


class AbsoluteError(SampleMean):
    higher_is_better = False

    def values(self, preds, target):
        return (preds - target).abs()


@pytest.mark.parametrize("shape", [(4, 1), ()])
def test_values_that_are_not_one_per_sample_are_refused(shape):
    metric = AbsoluteError()
    metric.update(torch.zeros(4), torch.arange(4.0))
    assert metric.compute() == 1.5
    target = torch.arange(4.0) if shape else torch.zeros(())
    message = (
        rf"values of AbsoluteError must be one per sample, \(B,\), got .*: predictions are {re.escape(str(shape))}"
    )
    with pytest.raises(ValueError, match=message):
        metric.update(torch.zeros(shape), target)
