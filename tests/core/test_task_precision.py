"""Tests that metrics are exact, and double precision is kept, in any precision of the trainer, for every task."""

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric, MeanSquaredError, Metric
from torchmetrics.functional.classification import multiclass_jaccard_index

from lightning_coordconv.classification import ImageClassification
from lightning_coordconv.coordinates import CoordinateClassification, CoordinateRendering
from lightning_coordconv.core import BaseTask, MeanTerms, NetworkTask
from lightning_coordconv.segmentation import SemanticSegmentation
from tests.slow import slow_except

SAMPLES, BATCH = 303, 3  # bfloat16 counts to 256
DOMAINS = ("classification", "coordinates", "detection", "generative", "rl", "segmentation")


class Own(NetworkTask):
    """A task of the user's, with metrics of torchmetrics, of which one is an attribute."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net, {"error": MeanSquaredError()})
        self.seen = MeanMetric()

    def evaluate(self, batch):
        preds = self.net(batch["image"])[:, 0]
        target = batch["label"].float()
        self.seen.update(target)
        self.log("test/seen", self.seen)
        return {"loss": (preds - target).square().mean(), "preds": preds, "target": target}


class Kept(Metric):
    """Keeps all values, in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("kept", [])

    def update(self, values: Tensor) -> None:
        self.kept.append(values)

    def compute(self) -> Tensor:
        return torch.cat(self.kept)


def share(right: Tensor) -> float:
    return right.double().mean().item()


def overlap(preds: Tensor, target: Tensor) -> float:
    pairs = zip(preds > 0.5, target > 0.5, strict=True)
    return torch.stack([(each & true).sum() / (each | true).sum() for each, true in pairs]).mean().item()


BY_HAND: dict[type[NetworkTask], dict[str, Callable[[Tensor, Tensor], float]]] = {
    ImageClassification: {"top1": lambda preds, target: share(preds.argmax(1) == target)},
    CoordinateClassification: {
        "accuracy": lambda preds, target: share((preds == target).all(1)),
        "distance": lambda preds, target: share((preds - target).double().norm(dim=1)),
    },
    CoordinateRendering: {"iou": overlap},
    SemanticSegmentation: {
        "accuracy": lambda preds, target: share(preds == target),
        "miou": lambda preds, target: multiclass_jaccard_index(preds, target, 3).item(),
    },
    Own: {
        "error": lambda preds, target: share((preds.float() - target.float()).square()),
        "seen": lambda preds, target: share(target),
    },
}
"""Metrics of all outputs of a task at once."""


def network(kind: type[NetworkTask]) -> nn.Module:
    torch.manual_seed(0)
    canvas = nn.Sequential(nn.Linear(2, 16), nn.Unflatten(1, (4, 4)))
    return {
        ImageClassification: nn.Sequential(nn.Flatten(), nn.Linear(48, 3)),
        Own: nn.Sequential(nn.Flatten(), nn.Linear(48, 1)),
        SemanticSegmentation: nn.Conv2d(3, 3, 1),
    }.get(kind, canvas)


def sample(kind: type[NetworkTask], number: int) -> dict[str, Tensor]:
    torch.manual_seed(number)
    x, y = torch.randint(4, (2,)).tolist()
    drawn = torch.zeros(1, 4, 4)
    drawn[0, y, x] = 1.0
    return {
        "image": drawn if kind is CoordinateRendering else torch.randn(3, 4, 4), "onehot": drawn,
        "label": torch.randint(3, ()), "mask": torch.randint(3, (4, 4)), "origin": torch.zeros(2).long(),
        "size": torch.tensor([4, 4]), "xy": torch.tensor([x, y]), "xy_scaled": torch.tensor([x, y]) / 1.5 - 1,
        "pixel_index": torch.tensor(4 * y + x), "held_out": torch.tensor(True),
    }  # fmt: skip


class Outputs(Callback):
    """Keeps what the steps of a test return."""

    def __init__(self) -> None:
        self.kept: list[dict[str, Tensor]] = []

    def on_test_batch_end(self, trainer, pl_module, outputs, *_: Any) -> None:
        self.kept.append({name: outputs[name].detach().clone() for name in ("loss", "preds", "target")})


def quiet(precision: Any, **options: Any) -> Trainer:
    return Trainer(
        accelerator="cpu", precision=precision, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, **options,
    )  # fmt: skip


def test_each_task_whose_weights_can_be_in_half_precision_is_tested():
    rooms = [importlib.import_module(f"lightning_coordconv.{domain}") for domain in DOMAINS]
    found = {getattr(room, name) for room in rooms for name in room.__all__}
    tasks = {kind for kind in found if isinstance(kind, type) and issubclass(kind, BaseTask) and kind.half_weights}
    assert tasks == BY_HAND.keys() - {Own}


@pytest.mark.parametrize("precision", slow_except(["bf16-true"], ["bf16-true", "16-true", "64-true"]))
@pytest.mark.parametrize("kind", BY_HAND, ids=lambda kind: kind.__name__)
def test_metrics_of_many_small_batches_are_those_of_all_outputs(kind, precision):
    task, outputs = kind(network(kind), **{"num_classes": 3} if kind is SemanticSegmentation else {}), Outputs()
    samples = DataLoader([sample(kind, number) for number in range(SAMPLES)], BATCH)
    (logged,) = quiet(precision, callbacks=[outputs]).test(task, samples, verbose=False)
    assert next(task.net.parameters()).dtype is task.dtype
    preds, target = (torch.cat([each[name] for each in outputs.kept]) for name in ("preds", "target"))
    found = {name: compute(preds, target) for name, compute in BY_HAND[kind].items()}
    found["loss"] = share(torch.stack([each["loss"] for each in outputs.kept]))
    assert {name: logged[f"test/{name}"] for name in found} == pytest.approx(found, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_conversion_changes_no_state_of_a_metric(dtype):
    task = Own(network(Own))
    task.averages = MeanTerms()
    task.seen.update(torch.tensor([1.0, 1000.1]))
    task.averages.update(torch.tensor([0.1, 0.2]), 301)
    task.kept = Kept()
    task.kept.update(torch.tensor([0.1]))
    before = {metric: metric.metric_state for metric in (task.seen, task.averages, task.kept)}
    task.to("cpu", dtype)
    for metric, states in before.items():
        torch.testing.assert_close(metric.metric_state, states, rtol=0, atol=0)
        metric.reset()
        assert {state.dtype for state in metric.metric_state.values() if isinstance(state, Tensor)} <= {torch.float32}
        assert metric.dtype is torch.float32


def test_weights_of_double_precision_are_loaded_as_they_were_saved(tmp_path):
    """They are converted before a checkpoint is loaded, which otherwise would be rounded to single precision."""
    kind = ImageClassification
    samples = DataLoader([sample(kind, number) for number in range(4)], 2)
    task = kind(network(kind))
    trainer = quiet("64-true", max_epochs=1)
    trainer.fit(task, samples, samples)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    weight = task.net[1].weight.detach().clone()
    assert not torch.equal(weight, weight.float().double())
    for run, loaders in (("fit", (samples, samples)), ("test", (samples,))):
        again = kind(network(kind))
        getattr(quiet("64-true", max_epochs=1), run)(again, *loaders, ckpt_path=tmp_path / "a.ckpt", weights_only=True)
        assert torch.equal(again.net[1].weight, weight)
