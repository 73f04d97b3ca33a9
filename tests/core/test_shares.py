"""Tests that ranks train and judge what one process does, whatever their losses are means over."""

import copy
import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from lightning_coordconv.coordinates import PointRegression
from lightning_coordconv.core import NetworkTask, SampleMean
from lightning_coordconv.segmentation import SemanticSegmentation

Batch = dict[str, Tensor]


class Inputs(SampleMean):
    def values(self, preds: Tensor, target: Tensor) -> Tensor:
        return preds.flatten(1).mean(1)


class Weighted(NetworkTask):
    """A loss of three terms: a mean over samples, one over weights, and one over what few samples have."""

    terms = ("size", "error", "rare")

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net, {"inputs": Inputs()})

    def evaluate(self, batch):
        outputs, weight, rare = self.net(batch["x"])[:, 0], batch["weight"], batch["weight"] > 0.8
        terms = {
            "size": outputs.square().mean(),
            "error": (weight * (outputs - 1).square()).sum() / weight.sum(),
            "rare": outputs.masked_fill(~rare, 0).sum() / rare.sum().clamp(min=1),
        }
        counts = {"error": weight.sum(), "rare": rare.sum()}
        return {"loss": sum(terms.values()), **terms, "counts": counts, "preds": batch["x"], "target": batch["x"]}


def weighted() -> tuple[NetworkTask, Batch]:
    return Weighted(nn.Linear(3, 1)), {"x": torch.randn(6, 3), "weight": torch.tensor([0.1, 0.9, 0.2, 0.3, 0.5, 0.1])}


def segmentation() -> tuple[NetworkTask, Batch]:
    mask = torch.randint(3, (6, 8, 8))
    mask[1, 1:], mask[4], mask[5] = 255, 255, 255  # the last rank of three has no label
    places = {"origin": torch.zeros(6, 2, dtype=torch.long), "size": torch.full((6, 2), 8)}
    return SemanticSegmentation(nn.Conv2d(3, 3, 1), 3), {"image": torch.randn(6, 3, 8, 8), "mask": mask, **places}


def points() -> tuple[NetworkTask, Batch]:
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    return PointRegression(net), {"image": torch.randn(6, 3, 2, 2), "xy": torch.rand(6, 2), "size": torch.ones(6, 2)}


class Ranks:
    """Threads that wait for each other where ranks do, each with a copy of a task."""

    def __init__(self, task: NetworkTask, number: int, is_last_batch: bool) -> None:
        self.tasks = [copy.deepcopy(task).double() for _ in range(number)]
        self.given: list[Tensor] = [torch.zeros(())] * number
        self.barrier = threading.Barrier(number, timeout=60)
        for rank, each in enumerate(self.tasks):
            each.trainer = SimpleNamespace(
                world_size=number, is_last_batch=is_last_batch, datamodule=None, ckpt_path=None
            )
            each.mean_over_ranks = lambda tensor, rank=rank: self.mean(rank, tensor)
            each.log_dict = lambda *_, **__: None

    def mean(self, rank: int, tensor: Tensor) -> Tensor:
        self.given[rank] = tensor
        self.barrier.wait()
        mean = torch.stack(self.given).double().mean(0)
        self.barrier.wait()
        return mean

    def each(self, step: Callable[[NetworkTask, Batch], object], batches: list[Batch]) -> None:
        threads = [threading.Thread(target=step, args=pair) for pair in zip(self.tasks, batches, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not self.barrier.broken


def parts(batch: Batch, shares: tuple[int, ...]) -> list[Batch]:
    split = {key: value.split(list(shares)) for key, value in batch.items()}
    return [{key: split[key][rank] for key in split} for rank in range(len(shares))]


@pytest.mark.parametrize("shares", [(2, 2, 2), (3, 3), (4, 2)])
@pytest.mark.parametrize("kind", [weighted, segmentation, points])
def test_the_mean_gradient_and_the_losses_of_ranks_are_those_of_one_process(kind, shares):
    torch.manual_seed(0)
    task, batch = kind()
    batch = {key: value.double() if value.is_floating_point() else value for key, value in batch.items()}
    alone, ranks = Ranks(task, 1, True), Ranks(task, len(shares), is_last_batch=len(set(shares)) > 1)

    def step(task: NetworkTask, batch: Batch) -> None:
        task.training_step(batch, 0)["loss"].backward()
        task.validation_step(batch, 0)

    alone.each(step, [batch])
    ranks.each(step, parts(batch, shares))
    for name, weight in alone.tasks[0].named_parameters():
        gradients = [dict(each.named_parameters())[name].grad for each in ranks.tasks]
        torch.testing.assert_close(torch.stack(gradients).mean(0), weight.grad, rtol=1e-7, atol=1e-10)
    assert ("val/error" in alone.tasks[0].losses) == (kind is weighted)
    for name, loss in alone.tasks[0].losses.items():
        if not name.startswith("test"):
            together, *others = (each.losses[name] for each in ranks.tasks)
            for other in others:
                together.merge_state(other)
            torch.testing.assert_close(together.compute(), loss.compute(), rtol=1e-6, atol=0)


def test_a_loss_of_nothing_is_zero_and_one_of_nan_is_nan():
    for value, count, expected in ((0.0, 0, 0.0), (torch.nan, 3, torch.nan), (torch.nan, 0, torch.nan)):
        loss = Weighted(nn.Linear(1, 1)).losses["val/loss"]
        loss.update(torch.tensor([value, 2.0]), torch.tensor([count, 1]))
        torch.testing.assert_close(loss.compute().item(), 2.0 + expected, equal_nan=True)
