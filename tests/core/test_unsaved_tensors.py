"""Tests that networks with tensors that no state dict holds come back from checkpoints, or are named."""

import warnings

import pytest
import torch
from pytorch_lightning import Trainer
from torch import nn
from torch.nn.utils import prune
from torch.utils.data import DataLoader

from lightning_coordconv.classification import ImageClassification
from lightning_coordconv.core import remember_arguments
from lightning_coordconv.generative import GAN, ConvDiscriminator, CoordConvGenerator

IMAGES = torch.rand(2, 3, 8, 8)


class Random(nn.Module):
    """Random Fourier features of the mean colours."""

    def __init__(self, buffer: bool = False, length: int = 8):
        super().__init__()
        if buffer:
            self.register_buffer("matrix", torch.randn(3, length), persistent=False)
        else:
            self.matrix = torch.randn(3, length)
        self.order = torch.randperm(length)
        self.last = nn.Linear(length, 2)
        self.last_features = None

    def forward(self, images):
        self.last_features = (images.mean((2, 3)) @ self.matrix).sin()[:, self.order]
        return self.last(self.last_features)


Remembered = remember_arguments(type("Remembered", (Random,), {"__module__": __name__}))


@remember_arguments
class Known(nn.Module):
    """Tensors that follow from the arguments or the weights."""

    def __init__(self, length: int = 8):
        super().__init__()
        self.register_buffer("table", torch.linspace(-torch.inf, 0, 1).expand(length), persistent=False)
        self.places = torch.arange(length)
        self.normed = nn.utils.spectral_norm(nn.Linear(3, 4))
        self.pruned = prune.random_unstructured(nn.Linear(4, 2), "weight", 0.5)

    def forward(self, images):
        return self.pruned(self.normed(images.mean((2, 3))))


def trained(net, path):
    trainer = Trainer(
        max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    samples = DataLoader([{"image": image, "label": torch.tensor(0)} for image in IMAGES])
    trainer.fit(ImageClassification(net), samples, samples)
    trainer.save_checkpoint(path)
    return path


@pytest.mark.parametrize("buffer", [False, True])
def test_a_network_with_random_features_is_the_one_that_was_trained(buffer, tmp_path):
    net = Remembered(buffer)
    path = trained(net, tmp_path / "last.ckpt")
    again = ImageClassification.load_from_checkpoint(path)
    assert torch.equal(again.net.eval()(IMAGES), net.eval()(IMAGES))
    assert torch.load(path, weights_only=True)["tensors"].keys() == {"net.matrix", "net.order"}  # not the features
    assert not {"matrix", "order"} & again.net.state_dict().keys()


@pytest.mark.parametrize("kind", [Random, Remembered])
def test_a_given_network_with_other_features_is_named(kind, tmp_path):
    path = trained(kind(), tmp_path / "last.ckpt")
    with pytest.warns(UserWarning, match=r"other tensors than those that were trained: net.matrix, net.order. The w"):
        ImageClassification.load_from_checkpoint(path, net=kind())
    with pytest.warns(UserWarning, match="other tensors than those that were trained: net.matrix"):
        ImageClassification(kind()).on_load_checkpoint(torch.load(path, weights_only=True))  # as a run that resumes


def test_tensors_that_are_the_same_or_of_another_size_are_not_named(tmp_path):
    path = trained(Known(), tmp_path / "last.ckpt")
    for given in ({}, {"net": Known()}, {"net": Known(9)}):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ImageClassification.load_from_checkpoint(path, **given)


def test_what_a_network_keeps_of_its_last_batch_is_not_named(tmp_path):
    """A test of the best checkpoint follows the training, in the same process."""
    task, path = ImageClassification(Remembered()), tmp_path / "last.ckpt"
    trained(task.net, path)
    with torch.no_grad():
        task.net(IMAGES + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task.on_load_checkpoint(torch.load(path, weights_only=True))


def test_the_average_of_a_generator_keeps_its_tensors_too():
    class Constant(CoordConvGenerator):
        def __init__(self):
            super().__init__(latent_size=8, canvas=16, width=4)
            self.shift = torch.randn(())

        def forward(self, latent):
            return super().forward(latent) + self.shift

    task = GAN(Constant(), ConvDiscriminator(canvas=16, width=4), latent_size=8, ema_decay=0.5)
    task.built_tensors = frozenset({"generator.shift", "average.shift"})
    checkpoint = {"state_dict": task.state_dict()}
    task.on_save_checkpoint(checkpoint)
    assert checkpoint["tensors"].keys() == task.built_tensors
