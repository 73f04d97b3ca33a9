"""Variational autoencoders (paper, section 5.3)."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from pytorch_lightning.cli import OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_coordconv.core.task import Batch
from lightning_coordconv.generative.task import GenerativeTask


class VAE(GenerativeTask):
    """Train an encoder and a decoder on the evidence lower bound.

    The paper gives no details. Here pixels are independent Bernoulli variables, on or off in each colour, as they are
    in Sort-of-CLEVR; ``a``, the decoder's output, stands for the probability (1 + tanh a) / 2. The posterior is normal
    with a diagonal covariance, the prior standard normal.

    Logged besides what :class:`~lightning_coordconv.generative.task.GenerativeTask` does, in nats an image, for
    ``train``, ``val`` and ``test``: ``loss``, the negative bound, and its parts ``reconstruction`` and ``rate``, the
    divergence of the posterior from the prior.

    Args:
        encoder: maps images (B, C, H, W) in [-1, 1] to means and log variances, both (B, latent_size).
        decoder: maps latent vectors to images before tanh.
        optimizer: builds the optimiser from the parameters of both.
        beta: weight of the rate in the loss.
        latent_size: see :class:`~lightning_coordconv.generative.task.GenerativeTask` for this and the following.
        object_radius: as there.
        features: as there.

    Raises:
        ValueError: for a negative weight, and networks that do not fit each other.
    """

    unsaved_hparams: ClassVar[frozenset[str]] = frozenset({"encoder", "decoder", "generator", "optimizer", "features"})

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        optimizer: OptimizerCallable = torch.optim.Adam,
        beta: float = 1.0,
        latent_size: int = 32,
        object_radius: int | None = None,
        features: nn.Module | None = None,
    ) -> None:
        super().__init__(decoder, latent_size, "normal", object_radius, features)
        if beta < 0:
            raise ValueError(f"beta must not be negative, got {beta}")
        described = self._try(encoder, torch.zeros(1, *self.image_shape), "the encoder", "images")
        if [part.shape for part in described] != [(1, latent_size)] * 2:
            shapes = [tuple(part.shape) for part in described]
            raise ValueError(f"the encoder must return means and log variances (1, {latent_size}), got {shapes}")
        self.encoder = encoder
        self.optimizer = optimizer
        self.beta = beta
        self.to(memory_format=torch.channels_last)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Build the optimiser over both networks."""
        return self.optimizer([*self.encoder.parameters(), *self.generator.parameters()])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the negative bound of a batch."""
        real = self.images(batch)
        losses = self.bound(real, self.draw(self.noise, len(real)))
        self.log_dict({f"train/{name}": value.detach() for name, value in losses.items()}, prog_bar=True)
        return losses["loss"]

    def bound(self, real: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """Return the negative bound and its parts, with the posterior's sample made of standard normal noise."""
        mean, log_variance = self.encoder(real)
        logits = 2 * self.generator(mean + (log_variance / 2).exp() * noise)
        error = F.binary_cross_entropy_with_logits(logits, (real + 1) / 2, reduction="sum") / len(real)
        rate = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2
        return {"loss": error + self.beta * rate, "reconstruction": error, "rate": rate}

    def losses(self, real: Tensor, fake: Tensor) -> Mapping[str, Tensor]:
        """Return the negative bound and its parts."""
        return self.bound(real, self.draw(self.evaluation_noise, len(real)))
