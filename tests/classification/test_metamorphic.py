"""Metamorphic tests of classifiers: outputs and metrics under batching, shifts, threads, dtypes, renamed classes."""

import copy

import pytest
import torch
from torch import nn

from lightning_coordconv.classification import (
    ImageClassification,
    PlacedDigits,
    PooledClassifier,
    ResNetClassifier,
    TopKAccuracy,
)
from tests.slow import slow_except

NETWORKS = {
    "pooled": lambda: PooledClassifier(4, channels=3),
    "pooled coordinates": lambda: PooledClassifier(4, coordinates=True, channels=3),
    "pooled circular": lambda: PooledClassifier(4, padding_mode="circular", channels=3),
    "resnet": lambda: ResNetClassifier("resnet18", 4),
    "resnet coordinates": lambda: ResNetClassifier("resnet18", 4, coordinates=True),
}
POOLED = [name for name in NETWORKS if name.startswith("pooled")]
IMAGES = torch.rand(4, 3, 48, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return NETWORKS[name]().double().eval()


def outputs(net: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return net(images)


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_except([*POOLED, "resnet coordinates"], NETWORKS))
def test_a_batch_gives_what_its_images_give_alone(name):
    net = network(name)
    alone = torch.cat([outputs(net, image[None]) for image in IMAGES])
    torch.testing.assert_close(outputs(net, IMAGES), alone, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", slow_except(POOLED, NETWORKS))
def test_two_threads_give_what_one_gives(name):
    net = network(name)
    one = outputs(net, IMAGES)
    torch.set_num_threads(2)
    torch.testing.assert_close(outputs(net, IMAGES), one, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.1)])
@pytest.mark.parametrize("name", slow_except(POOLED, NETWORKS))
def test_lower_precision_gives_about_the_same(name, dtype, tolerance):
    net = network(name)
    exact = outputs(net, IMAGES)
    rounded = outputs(copy.deepcopy(net).to(dtype), IMAGES.to(dtype))
    assert (rounded.double() - exact).abs().max() <= tolerance * exact.abs().max().clamp(min=1)


@pytest.mark.parametrize("shifts", [(8, 0), (0, -16), (24, 8)])
@pytest.mark.parametrize(("coordinates", "changes"), [(False, False), (True, True)])
def test_cyclic_shifts_change_the_output_only_with_coordinates(shifts, coordinates, changes):
    torch.manual_seed(0)
    net = PooledClassifier(4, coordinates, "circular", channels=3).double().eval()
    moved = outputs(net, IMAGES.roll(shifts, (2, 3)))
    assert torch.allclose(moved, outputs(net, IMAGES), rtol=0, atol=1e-9) != changes


def test_loss_and_metrics_of_a_batch_are_the_means_of_its_samples():
    torch.manual_seed(0)
    task = ImageClassification(PooledClassifier(10, coordinates=True)).eval()
    batch = PlacedDigits("val", "mixed").__getitems__(list(range(12)))
    whole = task.evaluate(batch)
    parts = [task.evaluate({key: value[i : i + 1] for key, value in batch.items()}) for i in range(12)]
    torch.testing.assert_close(whole["loss"], torch.stack([part["loss"] for part in parts]).mean())
    for k in (1, 5):
        together, apart = TopKAccuracy(k), TopKAccuracy(k)
        together.update(whole["preds"], whole["target"])
        for part in parts:
            apart.update(part["preds"], part["target"])
        assert together.compute() == apart.compute()


def test_renamed_classes_give_the_same_loss_and_metrics():
    torch.manual_seed(0)
    logits, target, names = torch.randn(9, 6), torch.randint(6, (9,)), torch.randperm(6)
    renamed = torch.empty_like(logits).scatter_(1, names.expand(9, -1), logits)
    for k in (1, 3):
        before, after = TopKAccuracy(k), TopKAccuracy(k)
        before.update(logits, target)
        after.update(renamed, names[target])
        assert before.compute() == after.compute()
