"""The task of training a variational autoencoder, an encoder and a decoder (paper, section 5.3)."""

from collections.abc import Mapping

import torch
from pytorch_lightning.cli import OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_coordconv.core.full_precision import in_full_precision
from lightning_coordconv.core.network_options import apply_network_options
from lightning_coordconv.core.task import Batch
from lightning_coordconv.generative.task import GenerativeTask


class VAE(GenerativeTask):
    """Train an encoder and a decoder on the evidence lower bound.

    The paper gives no details. Here pixels are independent Bernoulli variables, on or off in each colour channel, as
    they are in Sort-of-CLEVR; an output ``a`` of the decoder stands for the probability (1 + tanh a) / 2. The posterior
    is normal with a diagonal covariance, the prior standard normal.

    Logged in addition to the metrics of :class:`~lightning_coordconv.generative.GenerativeTask`, in nats an image, for
    ``train``, ``val`` and ``test``: ``loss``, the negative bound, and its terms ``reconstruction`` and ``rate``, the
    divergence of the posterior from the prior.

    Args:
        encoder: maps images (B, C, H, W) in [-1, 1] to means and log variances, both (B, latent_size).
        decoder: maps latent vectors to images before tanh; the generator of the task.
        optimizer: builds the optimiser from the parameters of both networks.
        beta: weight of the rate in the loss, not negative.
        latent_size: see :class:`~lightning_coordconv.generative.GenerativeTask` for this and the following arguments.
        object_radius: see there.
        features: see there.
        compile: compile both networks with ``torch.compile``.
        channels_last: keep their weights in the memory format channels last.

    Raises:
        ValueError: for numbers out of range, or networks that do not fit each other.
    """

    unsaved_hparams: frozenset[str] = frozenset({"encoder", "decoder", "generator", "optimizer"})

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        optimizer: OptimizerCallable = torch.optim.Adam,
        beta: float = 1.0,
        latent_size: int = 32,
        object_radius: int | None = None,
        features: nn.Module | None = None,
        compile: bool = False,
        channels_last: bool = True,
    ) -> None:
        super().__init__(decoder, latent_size, "normal", 0, object_radius, features)
        if not 0 <= beta < float("inf"):
            raise ValueError(f"beta must be finite and not negative, got {beta}")
        posterior = self._try(encoder, torch.zeros(1, *self.image_shape), "the encoder", "images")
        if [part.shape for part in posterior] != [(1, latent_size)] * 2:
            shapes = [tuple(part.shape) for part in posterior]
            raise ValueError(f"the encoder must return means and log variances (1, {latent_size}), got {shapes}")
        self.encoder = encoder
        self.optimizer = optimizer
        self.beta = beta
        for network in (encoder, decoder):
            apply_network_options(network, compile, channels_last)

    @property
    def decoder(self) -> nn.Module:
        """The generator, by the name of the argument."""
        return self.generator

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Build the optimiser over both networks."""
        return self.optimizer([*self.encoder.parameters(), *self.generator.parameters()])

    def check(self) -> None:
        """Build the injected optimiser once, to see that its arguments are valid."""
        VAE.configure_optimizers(self)  # a subclass's may need the trainer, which there is not yet

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the negative bound of a batch, weighted by this rank's share of the images."""
        real = self.real_images(batch)
        losses = self.bound(real, self.draw(self.latents, len(real), batch_idx))
        self.log_dict({f"train/{name}": value.detach() for name, value in losses.items()}, prog_bar=True)
        return losses["loss"] * self.share(len(real))

    def bound(self, real: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """Return the negative bound and its terms, scalars by name.

        Args:
            real: images (B, C, H, W) in [-1, 1].
            noise: standard normal vectors (B, latent_size), which become samples of the posterior.
        """
        mean, log_variance = in_full_precision(self.encoder(real))
        logits = 2 * in_full_precision(self.generator(mean + (log_variance / 2).exp() * noise))
        error = F.binary_cross_entropy_with_logits(logits, (real + 1) / 2, reduction="sum") / len(real)
        rate = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2
        return {"loss": error + self.beta * rate, "reconstruction": error, "rate": rate}

    def evaluation_losses(self, real: Tensor, output: Tensor, latents: Tensor) -> Mapping[str, Tensor]:
        """Return the negative bound and its terms; the noise is the vectors of the samples, equally distributed."""
        return self.bound(real, latents)
