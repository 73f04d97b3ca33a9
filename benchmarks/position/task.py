"""Defines a task of the position benchmark: data that are generated, and a loss with a score for each sample."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Generator, Tensor, nn
from torch.utils.data import Dataset

from lightning_coordconv.core import BaseDataModule
from lightning_coordconv.core.data import Split
from lightning_coordconv.core.metrics import SampleMean
from lightning_coordconv.core.task import Batch, NetworkTask, Outputs

Tensors = Mapping[str, Tensor]
Make = Callable[[Split, Generator], Tensors]
Evaluate = Callable[[nn.Module, Batch], tuple[Tensor, Tensor]]
Recipe = dict[str, Any]
Module = Callable[[nn.Module, Recipe, bool], LightningModule]
SPLITS: tuple[Split, ...] = ("train", "val", "test", "predict")


@dataclass(frozen=True)
class BenchTask:
    """A task of the bench.

    Attributes:
        title: what it is about, for the table.
        data: makes the data module, given a seed.
        net: makes the plain network.
        module: makes the LightningModule, given the network, the optimiser and schedule as arguments of a
            :class:`~lightning_coordconv.core.NetworkTask`, and whether coordinates are those of the full image.
        metric: what the test logs, without its stage.
        steps: optimiser steps of each run.
        unit: of the metric, for the table.
        arms: names of its arms.
        lower: whether a lower metric is better.
        lr: the highest learning rate.
    """

    title: str
    data: Callable[[int], BaseDataModule]
    net: Callable[[], nn.Module]
    module: Module
    metric: str
    steps: int
    unit: str
    arms: tuple[str, ...]
    lower: bool = False
    lr: float = 0.003


class TensorSamples(Dataset[dict[str, Tensor]]):
    """Samples that are rows of tensors."""

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = tensors

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {key: values[index] for key, values in self.tensors.items()}

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        """Return a whole batch at once; torch's loaders call this in place of ``__getitem__``."""
        return {key: values[indices] for key, values in self.tensors.items()}


class GeneratedDataModule(BaseDataModule):
    """Data that a function makes.

    Args:
        make: returns the samples of a split as tensors with one row for each, given the split and a generator.
        batch_size: samples in an optimiser step.
        seed: of the samples, and of their order in training. Each split has a separate random stream.
    """

    whole_batches = True

    def __init__(self, make: Make, batch_size: int, seed: int) -> None:
        super().__init__(batch_size, eval_batch_size=100, seed=seed)
        self.make = make

    def make_dataset(self, split: Split) -> TensorSamples:
        """Make the samples of a split."""
        generator = Generator().manual_seed(self.seed + 1_000_003 * (1 + SPLITS.index(split)))
        return TensorSamples(self.make(split, generator))


class Score(SampleMean):
    """Mean of a score that is computed for each sample."""

    def values(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the scores (B,)."""
        return preds


class ScoredTask(NetworkTask):
    """A task that is given by a function.

    Args:
        net: the network.
        evaluate: returns the loss, and a score for each sample (B,), of the network and a batch.
        recipe: arguments of :class:`~lightning_coordconv.core.NetworkTask`: optimiser and schedule.
    """

    sample_keys: frozenset[str] = frozenset({"image"})

    def __init__(self, net: nn.Module, evaluate: Evaluate, **recipe: Any) -> None:
        super().__init__(net, {"score": Score()}, **recipe)
        self.function = evaluate

    def evaluate(self, batch: Batch) -> Outputs:
        """Return the loss, and the scores as predictions."""
        loss, scores = self.function(self.net, batch)
        return {"loss": loss, "preds": scores.detach(), "target": scores.detach()}


def recipe(lr: float, steps: int) -> Recipe:
    """Return the optimiser and the schedule of all tasks: Adam in one cycle of the learning rate."""
    return {
        "optimizer": partial(torch.optim.Adam, lr=lr),
        "lr_scheduler": partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=lr, total_steps=steps),
        "lr_scheduler_interval": "step",
    }


def scored(evaluate: Evaluate) -> Module:
    """Return what makes a :class:`ScoredTask`, whose coordinates are always in the same frame."""
    return lambda net, recipe, framed: ScoredTask(net, evaluate, **recipe)


def scored_in_frame(evaluate: Callable[[nn.Module, Batch, bool], tuple[Tensor, Tensor]]) -> Module:
    """Return what makes a :class:`ScoredTask` of a function that also takes whether to use the task's frame."""
    return lambda net, recipe, framed: ScoredTask(net, lambda plain, batch: evaluate(plain, batch, framed), **recipe)
