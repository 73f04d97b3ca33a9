"""Tests of the checkpoints of a user's LightningModule whose base class became BaseTask."""

import pytest
import torch
from pytorch_lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader

from lightning_coordconv.classification import PooledClassifier
from lightning_coordconv.core import BaseTask
from lightning_coordconv.core.checkpoints import CheckpointError


class Own(BaseTask):
    """Has arguments that are no plain data: a network, a loss, and a class of optimisers by default."""

    def __init__(self, net: nn.Module, loss=torch.sum, lr: float = 0.1, *, optimizer=torch.optim.SGD):
        super().__init__()
        self.net, self.loss, self.lr, self.optimizer = net, loss, lr, optimizer

    def training_step(self, batch, batch_idx):
        return self.loss(self.net(batch))

    def configure_optimizers(self):
        return self.optimizer(self.parameters(), self.lr)


class OwnSaving(Own):
    """Saves its arguments itself, as Lightning's examples do."""

    def __init__(self, net: nn.Module, loss, lr: float = 0.1):
        super().__init__(net, loss, lr)
        self.save_hyperparameters()


def fitted(task, folder):
    trainer = Trainer(
        max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(task, DataLoader(torch.rand(4, 1, 8, 8), 2))
    trainer.save_checkpoint(folder / "last.ckpt")
    return folder / "last.ckpt"


@pytest.mark.filterwarnings("ignore:Attribute '(net|loss)' is an instance of `nn.Module`:UserWarning")
@pytest.mark.parametrize("kind", [Own, OwnSaving])
def test_its_checkpoint_holds_plain_data_only(kind, tmp_path):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))
    path = fitted(kind(net, loss=torch.mean, lr=0.5), tmp_path)
    assert torch.load(path, weights_only=True)["hyper_parameters"] == {"lr": 0.5}
    with pytest.raises(
        CheckpointError, match=r"does not describe the net, loss of Own.*as in load\(\.\.\., net=\.\.\., loss=\.\.\.\)"
    ):
        kind.load_from_checkpoint(path)
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))
    again = kind.load_from_checkpoint(path, net=other, loss=torch.mean)
    assert again.lr == 0.5
    assert torch.equal(other[1].weight, net[1].weight)


def test_an_object_that_was_given_in_place_of_a_default_must_be_given_again(tmp_path):
    """Else the loaded task would compute something else."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))
    for loss, needed in ((torch.mean, True), (None, False)):
        path = fitted(Own(net) if loss is None else Own(net, loss), tmp_path)
        with pytest.raises(CheckpointError, match="net, loss of Own" if needed else "the net of Own"):
            Own.load_from_checkpoint(path)


@pytest.mark.parametrize("by_position", [False, True])
def test_a_network_that_remembers_its_arguments_is_rebuilt(by_position, tmp_path):
    net = PooledClassifier(2, True)
    path = fitted(Own(net, torch.mean) if by_position else Own(loss=torch.mean, net=net), tmp_path)
    again = Own.load_from_checkpoint(path, loss=torch.mean)
    images = torch.rand(2, 1, 8, 8)
    assert torch.equal(again.net.eval()(images), net.eval()(images))


class Scaled(Own):
    """Changes an argument, as of a learning rate for a batch of another size, before its base class sees it."""

    def __init__(self, net: nn.Module, loss=torch.sum, lr: float = 0.1, samples: int = 64) -> None:
        lr = lr * samples / 32
        super().__init__(net, loss, lr)


@pytest.mark.parametrize("arguments", [{"lr": 0.5, "samples": 16}, {"samples": 16}, {}])
def test_an_argument_that_the_constructor_changed_is_changed_once(arguments, tmp_path):
    task = Scaled(PooledClassifier(1), **arguments)
    again = Scaled.load_from_checkpoint(fitted(task, tmp_path), net=PooledClassifier(1))
    assert again.lr == task.lr
    assert task.hparams.items() <= again.hparams.items()
