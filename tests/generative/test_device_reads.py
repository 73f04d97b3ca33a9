"""Tests that the host never waits for the device in a training step of GANs and VAEs."""

from contextlib import contextmanager
from functools import partial

import pytest
import torch
from pytorch_lightning import Trainer

from lightning_coordconv.generative import (
    GAN,
    VAE,
    ConvDiscriminator,
    ConvEncoder,
    ConvGenerator,
    CoordConvGenerator,
    SortOfClevrDataModule,
    SpatialBroadcastDecoder,
)
from tests.device_reads import device_reads
from tests.slow import slow_except


def adam(weights):
    return torch.optim.Adam(weights, lr=1e-3, fused=True)


def schedule(optimizer):
    return torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, 100)


GANS = {
    "paper": {},
    "averaged": {"ema_decay": 0.999, "lr_scheduler": schedule},
    "penalties": {"r1": 1.0, "feature_matching": 0.1, "ema_decay": 0.99},
    "before tanh": {"squash": False, "loss": "hinge"},
    "binary": {"binary_latents": 2, "latent": "normal", "loss": "least-squares"},
}


def gan(options, batch_norm):
    generator = ConvGenerator(4, 16, 2) if batch_norm else CoordConvGenerator(4, 16, 2)
    discriminator = ConvDiscriminator(16, 2, True, "batch" if batch_norm else "none")
    return GAN(generator, discriminator, adam, adam, latent_size=4, **{"ema_decay": None} | options)


def vae(decoder):
    return VAE(ConvEncoder(4, 16, 2, True), decoder(4, 16, 2), adam, latent_size=4)


BUILD = {
    **{name: partial(gan, options, batch_norm=False) for name, options in GANS.items()},
    **{f"{name}, batch norm": partial(gan, options, batch_norm=True) for name, options in GANS.items()},
    "VAE": partial(vae, CoordConvGenerator),
    "VAE, spatial broadcast": partial(vae, SpatialBroadcastDecoder),
}


def watch_steps(task, watch, accelerator="cpu"):
    """Fit three batches, and return what ``watch`` yields for each training step."""
    step, watched = task.training_step, []

    def training_step(batch, batch_idx):
        with watch() as found:
            loss = step(batch, batch_idx)
            if not isinstance(task, GAN):
                loss.backward(retain_graph=True)  # the trainer calls it again, outside
        watched.append(found)
        return loss

    task.training_step = training_step
    task.log_dict = lambda *args, **kwargs: None  # the trainer's own logging is not part of the step
    data = SortOfClevrDataModule(count=24, eval_count=4, canvas=16, radius=3, batch_size=8)
    Trainer(
        accelerator=accelerator, devices=1, max_epochs=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
    ).fit(task, data)  # fmt: skip
    return watched


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_except(["paper", "penalties, batch norm", "VAE"], BUILD))
def test_a_training_step_reads_nothing_from_the_device(name):
    first, *others = watch_steps(BUILD[name](), device_reads)
    assert len(others) == 2
    assert not first.union(*others)


def test_a_read_in_the_step_would_be_found():
    task = BUILD["paper"]()
    loss = task.generator_loss
    task.generator_loss = lambda real, fake: (loss(real, fake)[0] * 1.0, float(fake.detach().mean()))
    reads = watch_steps(task, device_reads)
    assert all(reads)


@contextmanager
def synchronisation_is_an_error():
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield set()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", BUILD)
def test_a_training_step_does_not_wait_on_cuda(name):
    assert len(watch_steps(BUILD[name](), synchronisation_is_an_error, "cuda")) == 3
