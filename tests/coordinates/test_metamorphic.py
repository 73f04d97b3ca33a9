"""Metamorphic tests of coordinate networks and tasks: batching, mirror images, threads, dtypes, resuming."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor, nn

from lightning_coordconv.coordinates import (
    CoordConvDecoder,
    CoordConvMaxRegressor,
    CoordConvRegressor,
    CoordConvRenderer,
    CoordinateClassification,
    CoordinateRegression,
    CoordinateRendering,
    DeconvDecoder,
    NotSoClevr,
    NotSoClevrDataModule,
    PoolingRegressor,
    StridedRegressor,
    UpsampleDecoder,
)
from tests.slow import slow_except

DECODERS = {
    "coordconv": lambda: CoordConvDecoder(canvas=16),
    "constants": lambda: CoordConvDecoder(canvas=16, coordinates=False),
    "renderer": lambda: CoordConvRenderer(canvas=16, gain=64.0),
    "deconv2": lambda: DeconvDecoder(2, 1, 16),
    "deconv4": lambda: DeconvDecoder(4, 1, 16),
    "deconv2 coordinates": lambda: DeconvDecoder(2, 1, 16, coordinates=True),
    "upsample": lambda: UpsampleDecoder(3, 1, 16),
    "upsample coordinates": lambda: UpsampleDecoder(3, 1, 16, coordinates=True),
}
REGRESSORS = {
    "paper": lambda: CoordConvRegressor(),
    "max": lambda: CoordConvMaxRegressor(),
    "pooling": lambda: PoolingRegressor(canvas=16),
    "strided": lambda: StridedRegressor(),
}
NETWORKS = DECODERS | REGRESSORS
INPUT = {name: "xy_scaled" if name in DECODERS else "onehot" for name in NETWORKS}


def network(name: str) -> tuple[nn.Module, Tensor]:
    """Return a network whose batch norms have seen data, and a batch of inputs, in double precision."""
    torch.manual_seed(0)
    net = NETWORKS[name]().double()
    batch = NotSoClevr("all", canvas=16, size=3).__getitems__([0, 17, 60, 111, 195])
    with torch.no_grad():
        net(batch[INPUT[name]].double())
    return net.eval(), batch[INPUT[name]].double()


def outputs(net: nn.Module, batch: Tensor) -> Tensor:
    with torch.no_grad():
        made = net(batch)
    return torch.stack(made, 1) if isinstance(made, tuple) else made


@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_gives_what_its_samples_give_alone(name):
    net, batch = network(name)
    alone = torch.cat([outputs(net, sample[None]) for sample in batch])
    torch.testing.assert_close(outputs(net, batch), alone, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_order_of_a_batch_does_not_matter(name):
    net, batch = network(name)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(outputs(net, batch[order]), outputs(net, batch)[order], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", slow_except(["coordconv", "renderer", "max"], NETWORKS))
def test_two_threads_give_what_one_gives(name):
    net, batch = network(name)
    one = outputs(net, batch)
    torch.set_num_threads(2)
    torch.testing.assert_close(outputs(net, batch), one, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.1)])
@pytest.mark.parametrize("name", NETWORKS)
def test_lower_precision_gives_about_the_same(name, dtype, tolerance):
    net, batch = network(name)
    exact = outputs(net, batch)
    rounded = outputs(copy.deepcopy(net).to(dtype), batch.to(dtype))
    assert rounded.dtype == dtype
    assert (rounded.double() - exact).abs().max() <= tolerance * exact.abs().max().clamp(min=1)


def mirror(net: nn.Module, decodes: bool) -> nn.Module:
    """Return the network of the mirrored plane: kernels flipped, column coordinates and a decoder's x negated."""
    mirrored = copy.deepcopy(net)
    layers = [layer for layer in mirrored.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    with torch.no_grad():
        for layer in layers:
            layer.weight.copy_(layer.weight.flip(-1))
            if hasattr(layer, "coord_weight"):
                channels = layer.coord_weight.movedim(1, 0) if not layer.transposed else layer.coord_weight
                channels.copy_(channels.flip(-1))
                channels[1].neg_()
        if decodes:
            first = layers[0]
            (first.weight if first.transposed else first.weight.movedim(1, 0))[0].neg_()
    return mirrored


SYMMETRIC = [name for name in NETWORKS if name not in ("pooling", "strided", "constants")]


@pytest.mark.parametrize("name", SYMMETRIC)
def test_a_mirrored_network_gives_the_mirrored_output(name):
    net, batch = network(name)
    decodes = name in DECODERS
    seen = batch * torch.tensor([-1.0, 1.0]) if decodes else batch.flip(-1)
    made = outputs(mirror(net, decodes), seen)
    torch.testing.assert_close(made.flip(-1) if decodes else made, outputs(net, batch), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("axis", "dim"), [(0, -1), (1, -2)])
def test_mirrored_positions_have_mirrored_images(axis, dim):
    data = NotSoClevr("all", canvas=12, size=5)
    batch = data.__getitems__(list(range(len(data))))
    mirrored = batch["xy"].clone()
    mirrored[:, axis] = 11 - mirrored[:, axis]
    index = {tuple(xy): i for i, xy in enumerate(batch["xy"].tolist())}
    other = data.__getitems__([index[tuple(xy)] for xy in mirrored.tolist()])
    for key in ("onehot", "image"):
        assert torch.equal(other[key], batch[key].flip(dim))
    expected = batch["xy_scaled"].clone()
    expected[:, axis] *= -1
    torch.testing.assert_close(other["xy_scaled"], expected, rtol=0, atol=1e-6)


TASKS = {
    "classification": lambda: CoordinateClassification(CoordConvDecoder(canvas=16)),
    "regression": lambda: CoordinateRegression(CoordConvMaxRegressor()),
    "rendering": lambda: CoordinateRendering(CoordConvRenderer(canvas=16), centre_weight=0.5),
}


@pytest.mark.parametrize("name", TASKS)
def test_loss_and_metrics_of_a_batch_are_the_means_of_its_samples(name):
    task = TASKS[name]().eval()
    batch = NotSoClevr("all", canvas=16, size=3).__getitems__(list(range(0, 196, 20)))
    whole = task.evaluate(batch)
    task.val_metrics.update(whole["preds"], whole["target"])
    parts = [task.evaluate({key: value[i : i + 1] for key, value in batch.items()}) for i in range(10)]
    torch.testing.assert_close(whole["loss"], torch.stack([part["loss"] for part in parts]).mean())
    for part in parts:
        task.test_metrics.update(part["preds"], part["target"])
    found, expected = task.val_metrics.compute(), task.test_metrics.compute()
    for metric in task.val_metrics.keys(keep_base=True):
        torch.testing.assert_close(found[f"val/{metric}"], expected[f"test/{metric}"])


class SaveEveryStep(Callback):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")


def fitted(callbacks: list[Callback], ckpt_path: Path | None = None) -> Iterator[Tensor]:
    torch.manual_seed(0)
    task = CoordinateClassification(
        DeconvDecoder(2, 1, 16),
        lambda groups: torch.optim.Adam(groups, lr=0.01, weight_decay=1e-3),
        lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=9),
        "step",
    )
    data = NotSoClevrDataModule("quadrant", canvas=16, size=3, batch_size=64)
    Trainer(
        accelerator="cpu", max_epochs=3, logger=False, callbacks=callbacks, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
    ).fit(task, data, ckpt_path=ckpt_path, weights_only=True)  # fmt: skip
    return task.state_dict().values()


@pytest.mark.slow
def test_a_run_that_resumes_at_any_step_ends_with_the_same_weights(tmp_path):
    whole = list(fitted([SaveEveryStep(tmp_path)]))
    checkpoints = sorted(tmp_path.glob("*.ckpt"))
    assert len(checkpoints) == 9
    for path in checkpoints[:-1]:
        for found, expected in zip(fitted([], path), whole, strict=True):
            assert torch.equal(found, expected), path.name
