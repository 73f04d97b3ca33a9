"""Functions for tests that build small GANs, their data and trainers, and fit them; the path of a shipped config."""

from functools import partial
from pathlib import Path

import torch
from pytorch_lightning import Trainer

from lightning_coordconv.generative import (
    GAN,
    ConvDiscriminator,
    ConvGenerator,
    CoordConvGenerator,
    SortOfClevrDataModule,
)

ADAM = partial(torch.optim.Adam, lr=0.002, betas=(0.5, 0.9))


def networks(batch_norm=False, coordinates=True):
    generator = ConvGenerator(4, 16, 4) if batch_norm else CoordConvGenerator(4, 16, 2)
    return generator, ConvDiscriminator(16, 2, coordinates, "batch" if batch_norm else "none")


def task(batch_norm=False, **arguments):
    options = {"generator_optimizer": ADAM, "discriminator_optimizer": ADAM, "latent_size": 4, "object_radius": 3}
    return GAN(*networks(batch_norm), **options | arguments)


def data(**arguments):
    return SortOfClevrDataModule(
        **{"count": 24, "eval_count": 6, "canvas": 16, "radius": 3, "batch_size": 8} | arguments
    )


def trainer(folder, **arguments):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
             "enable_model_summary": False, "num_sanity_val_steps": 0}  # fmt: skip
    return Trainer(accelerator="cpu", default_root_dir=folder, **quiet | arguments)


def fit(folder, module, callbacks=(), **arguments):
    runner = trainer(folder, callbacks=list(callbacks), **{"max_epochs": 1, "limit_val_batches": 0} | arguments)
    runner.fit(module, data())
    return runner


CONFIG = Path(__file__).parents[2] / "configs" / "generative" / "small_coordconv.yaml"
