"""Tests of the fine-tuning callbacks: frozen weights that are released, and the moving average of the weights."""

from types import MappingProxyType

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader

from lightning_coordconv import CoordConv2d
from lightning_coordconv.runtime.callbacks.finetuning import FreezeUntil, MovingAverage
from tests.classification.test_task import quiet


class Line(LightningModule):
    """Weights that grow: a body and a head, under plain gradient descent."""

    def __init__(self) -> None:
        super().__init__()
        self.body = CoordConv2d(1, 1, 1)
        self.head = nn.Conv2d(1, 1, 1)
        self.history: list[dict[str, torch.Tensor]] = []
        self.tested: dict[str, torch.Tensor] = {}

    def training_step(self, batch, batch_idx):
        return self.head(self.body(batch)).mean() + sum(weight.sum() for weight in self.parameters())

    def on_train_batch_end(self, *_):
        self.history.append({name: weight.detach().clone() for name, weight in self.named_parameters()})

    def test_step(self, batch, batch_idx):
        self.tested = {name: weight.detach().clone() for name, weight in self.named_parameters()}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader() -> DataLoader:
    return DataLoader(torch.rand(2, 1, 4, 4), batch_size=1)


def fit(folder, *callbacks, epochs=2) -> tuple[Line, object]:
    torch.manual_seed(0)
    net = Line()
    net.history.append({name: weight.detach().clone() for name, weight in net.named_parameters()})
    trainer = quiet(folder, max_epochs=epochs, callbacks=list(callbacks))
    trainer.fit(net, loader())
    return net, trainer


def test_frozen_until_an_epoch_but_for_coordinates(tmp_path):
    net, _ = fit(tmp_path, FreezeUntil(1, ("body.*",)))
    start, first, second, third, _ = net.history
    for name in ("body.weight", "body.bias"):
        assert torch.equal(start[name], second[name])
        assert not torch.equal(second[name], third[name])
    for name in ("body.coord_weight", "head.weight"):
        assert not torch.equal(start[name], first[name])


def test_a_pattern_that_matches_nothing_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"'backbone\.\*' matches no parameter of Line"):
        fit(tmp_path, FreezeUntil(1, ("backbone.*",)))


def test_the_average_is_what_is_saved_and_tested(tmp_path):
    checkpoints = ModelCheckpoint(tmp_path, save_last=True)
    net = Line()
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, max_epochs=2,
        callbacks=[MovingAverage(decay=0.5), checkpoints],
    )  # fmt: skip
    trainer.fit(net, loader())
    average = net.history[0]  # of the first step
    for updates, weights in enumerate(net.history[1:], start=1):
        decay = min(0.5, (1 + updates) / (10 + updates))
        average = {name: decay * average[name] + (1 - decay) * weights[name] for name in weights}
    saved = torch.load(checkpoints.last_model_path, weights_only=True)["state_dict"]
    assert saved._metadata["body"] == net.state_dict()._metadata["body"]  # the coordinates that it was trained on
    trainer.test(net, loader(), ckpt_path=checkpoints.last_model_path, verbose=False, weights_only=True)
    for name, expected in average.items():
        torch.testing.assert_close(saved[name], expected)
        torch.testing.assert_close(net.tested[name], expected)
    assert not torch.equal(net.history[-1]["head.weight"], average["head.weight"])


def test_an_average_that_is_used_again_begins_anew(tmp_path):
    average = MovingAverage(0.9)
    first, _ = fit(tmp_path, average)
    second, _ = fit(tmp_path, average)
    assert all(torch.equal(*pair) for pair in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(second.head.weight, second.history[0]["head.weight"])


def test_a_task_that_cannot_be_copied_has_no_average(tmp_path):
    net = Line()
    net.spaces = MappingProxyType({})  # as those of agents have
    with pytest.raises(
        ValueError, match=r"the weights of Line cannot be averaged, as it cannot be copied \(.*\): leave"
    ):
        MovingAverage(0.5).setup(Trainer(accelerator="cpu", logger=False), net, "fit")


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [1, 2, 3])
def test_the_average_resumes_where_it_was(tmp_path, stopped):
    """Both the weights and their average, after every number of steps."""

    def train(epochs: int, resumed: bool = False) -> tuple[Line, dict[str, torch.Tensor]]:
        torch.manual_seed(0)
        net, folder = Line(), tmp_path / str(epochs)
        checkpoints = ModelCheckpoint(folder, save_last=True)
        trainer = Trainer(
            accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, max_epochs=epochs,
            callbacks=[MovingAverage(decay=0.5), checkpoints],
        )  # fmt: skip
        path = tmp_path / str(stopped) / "last.ckpt" if resumed else None
        trainer.fit(net, DataLoader(torch.ones(2, 1, 4, 4)), ckpt_path=path, weights_only=True)
        return net, torch.load(checkpoints.last_model_path, weights_only=True)["state_dict"]

    whole, average = train(4)
    train(stopped)
    resumed, again = train(4, resumed=True)
    for name in average:
        assert torch.equal(again[name], average[name])
        assert torch.equal(resumed.history[-1][name], whole.history[-1][name])


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan"), "0.9"])
def test_a_decay_that_gives_no_average_is_refused(decay):
    with pytest.raises(ValueError, match=f"decay must be .*, got {decay!r}"):
        MovingAverage(decay)
