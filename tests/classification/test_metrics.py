"""Tests of top-k accuracy: against torchmetrics, over ranks, for NaN and masked logits, and wrong arguments."""

import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy

from lightning_coordconv.classification import TopKAccuracy, top_k_correct
from lightning_coordconv.classification.metrics import predicted_class


@pytest.mark.parametrize("k", [1, 2, 5])
def test_same_as_torchmetrics(k):
    generator = torch.Generator().manual_seed(k)
    metric, reference = TopKAccuracy(k), MulticlassAccuracy(num_classes=7, top_k=k, average="micro")
    for size in (5, 32, 1):
        logits = torch.randn(size, 7, generator=generator)
        target = torch.randint(7, (size,), generator=generator)
        metric.update(logits, target)
        reference.update(logits, target)
    assert metric.compute() == reference.compute()


def test_ranks_add_up():
    left, right = TopKAccuracy(), TopKAccuracy()
    left.update(torch.eye(3), torch.tensor([0, 1, 2]))
    right.update(torch.eye(3)[:1], torch.tensor([1]))
    left.merge_state(right)
    assert left.compute() == 0.75


def test_everything_is_among_the_five_best_of_three():
    assert top_k_correct(torch.eye(3), torch.tensor([2, 0, 1]), k=5).all()


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_of_equal_logits_the_first_come_first(k):
    generator = torch.Generator().manual_seed(k)
    logits = torch.randint(3, (200, 4), generator=generator).float()
    target = torch.randint(4, (200,), generator=generator)
    guesses = logits.argsort(dim=1, descending=True, stable=True)[:, :k]
    assert torch.equal(top_k_correct(logits, target, k), (guesses == target[:, None]).any(1))
    assert torch.equal(predicted_class(logits), logits.argsort(dim=1, descending=True, stable=True)[:, 0])


@pytest.mark.parametrize("k", [0, -1])
def test_k_must_be_positive(k):
    with pytest.raises(ValueError, match=f"k must be at least 1, got {k}"):
        TopKAccuracy(k)
    with pytest.raises(ValueError, match=f"k must be at least 1, got {k}"):
        top_k_correct(torch.eye(3), torch.tensor([2, 0, 1]), k)


@pytest.mark.parametrize(("logits", "target"), [((3,), (3,)), ((3, 2), (2,)), ((3, 2), (3, 1))])
def test_shapes_are_checked(logits, target):
    with pytest.raises(ValueError, match=r"expected logits \(B, C\) and classes \(B,\), got"):
        top_k_correct(torch.zeros(logits), torch.zeros(target, dtype=torch.long))


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("k", [1, 2])
def test_a_logit_that_is_not_finite_is_no_class(number, k):
    logits = torch.tensor([[0.0, 1.0, 0.5], [0.0, number, 0.5]])
    assert top_k_correct(logits, torch.tensor([1, 1]), k).tolist() == [True, False]
    metric = TopKAccuracy(k)
    metric.update(logits, torch.tensor([1, 1]))
    assert metric.compute().isnan()


def test_a_masked_class_has_no_probability():
    metric = TopKAccuracy()
    metric.update(torch.tensor([[0.0, 1.0, -torch.inf]]), torch.tensor([1]))
    assert metric.compute() == 1
