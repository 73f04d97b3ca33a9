"""Generative adversarial networks (paper, section 5.3)."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, ClassVar

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.strategies import ParallelStrategy
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lightning_coordconv.core.task import Batch
from lightning_coordconv.generative.latents import Distribution
from lightning_coordconv.generative.losses import LOSSES, feature_distance, gradient_penalty
from lightning_coordconv.generative.task import GenerativeTask


class GAN(GenerativeTask):
    """Train a generator against a discriminator.

    An iteration takes a batch of real images and as many latent vectors, and makes ``discriminator_steps`` steps, then
    ``generator_steps`` steps with them. The discriminator sees real and generated images in batches of their own, as in
    the reference implementation. The images that the discriminator is trained with serve the first generator step, too.

    Lightning counts the steps of both optimisers, so its ``global_step`` and ``max_steps`` are 3 an iteration by
    default.

    Under DDP each optimiser's gradients are averaged over ranks in one message. For batch norm over the images of all
    ranks set ``trainer.sync_batchnorm``.

    Logged besides what :class:`~lightning_coordconv.generative.task.GenerativeTask` does: ``loss_d`` and ``loss_g``,
    the adversarial losses alone, for ``train``, ``val`` and ``test``.

    Args:
        generator: maps latent vectors (B, latent_size) to images (B, C, H, W) before tanh.
        discriminator: maps images in [-1, 1] to logits (B,), high for real ones; for feature matching it also has a
            method ``features`` from images to (B, F).
        generator_optimizer: builds the generator's optimiser from its parameters.
        discriminator_optimizer: builds the discriminator's.
        lr_scheduler: builds the learning rate schedule of either optimiser, which moves once an iteration; none by
            default.
        loss: ``"non-saturating"``, ``"hinge"`` or ``"least-squares"``.
        discriminator_steps: steps an iteration.
        generator_steps: steps an iteration; 2 as in the reference implementation.
        r1: weight of the R1 penalty, half its mean squared gradient norm (Mescheder et al., 2018); 0 for none.
        feature_matching: weight of feature matching in the generator's loss; 0 for none.
        ema_decay: samples are drawn from an exponential moving average of the generator, with this decay an iteration;
            ``None``: from the generator itself.
        squash: apply tanh to what the discriminator sees. False as the authors' CoordConv GAN, whose discriminator sees
            the generator's output before tanh.
        latent_size: see :class:`~lightning_coordconv.generative.task.GenerativeTask` for this and the following.
        latent: as there.
        binary_latents: as there.
        object_radius: as there.
        features: as there.

    Raises:
        ValueError: for an unknown loss, numbers out of range, and networks that do not fit each other.
    """

    unsaved_hparams: ClassVar[frozenset[str]] = frozenset(
        {"generator", "discriminator", "generator_optimizer", "discriminator_optimizer", "lr_scheduler", "features"}
    )

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        generator_optimizer: OptimizerCallable = torch.optim.Adam,
        discriminator_optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        loss: str = "non-saturating",
        discriminator_steps: int = 1,
        generator_steps: int = 2,
        r1: float = 0.0,
        feature_matching: float = 0.0,
        ema_decay: float | None = 0.999,
        squash: bool = True,
        latent_size: int = 256,
        latent: Distribution = "uniform",
        binary_latents: int = 0,
        object_radius: int | None = None,
        features: nn.Module | None = None,
    ) -> None:
        super().__init__(generator, latent_size, latent, object_radius, features, binary_latents)
        if loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}")
        for name, value in (("discriminator_steps", discriminator_steps), ("generator_steps", generator_steps)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name, weight in (("r1", r1), ("feature_matching", feature_matching)):
            if weight < 0:
                raise ValueError(f"{name} must not be negative, got {weight}")
        if ema_decay is not None and not 0 <= ema_decay < 1:
            raise ValueError(f"ema_decay must be in [0, 1), got {ema_decay}")
        if feature_matching and not hasattr(discriminator, "features"):
            raise ValueError(f"feature matching needs a method features, which {type(discriminator).__name__} lacks")
        logits = self._try(discriminator, torch.zeros(1, *self.image_shape), "the discriminator", "images")
        if logits.shape != (1,):
            raise ValueError(f"the discriminator must return one logit an image, (1,), got {tuple(logits.shape)}")
        self.discriminator = discriminator
        self.generator_optimizer = generator_optimizer
        self.discriminator_optimizer = discriminator_optimizer
        self.lr_scheduler = lr_scheduler
        self.loss = LOSSES[loss]
        self.discriminator_steps = discriminator_steps
        self.generator_steps = generator_steps
        self.r1 = r1
        self.feature_matching = feature_matching
        self.squash = squash
        self.average: AveragedModel | None = None
        if ema_decay is not None:
            self.average = AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(ema_decay), use_buffers=True)
            self.average.requires_grad_(False)
        self.automatic_optimization = False
        self.to(memory_format=torch.channels_last)

    @property
    def sampled(self) -> nn.Module:
        """The averaged generator, or the generator itself."""
        return self.generator if self.average is None else self.average

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[Any]]:
        """Build both optimisers and their schedules."""
        optimizers = [
            self.discriminator_optimizer(self.discriminator.parameters()),
            self.generator_optimizer(self.generator.parameters()),
        ]
        return optimizers, [] if self.lr_scheduler is None else [self.lr_scheduler(each) for each in optimizers]

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Train both networks with one batch."""
        real = self.images(batch)
        latent = self.draw(self.noise, len(real))
        optimizers: list[LightningOptimizer] = self.optimizers()  # type: ignore[assignment]
        fake = self.fake(latent)
        for _ in range(self.discriminator_steps):
            loss_d, penalty = self.discriminator_loss(real, fake.detach())
            self._update("discriminator", optimizers[0], loss_d + penalty)
        self.discriminator.requires_grad_(False)  # its gradients are not asked for now: a third of the backward pass
        for step in range(self.generator_steps):
            fake = fake if step == 0 else self.fake(latent)
            loss_g, distance = self.generator_loss(real, fake)
            self._update("generator", optimizers[1], loss_g + distance)
        self.discriminator.requires_grad_(True)
        if self.lr_scheduler is not None:
            for schedule in self.lr_schedulers():  # type: ignore[union-attr]
                schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.generator)
        self.log_dict({"train/loss_d": loss_d.detach(), "train/loss_g": loss_g.detach()}, prog_bar=True)

    def fake(self, latent: Tensor) -> Tensor:
        """Return generated images as the discriminator sees them."""
        image: Tensor = self.generator(latent)
        return torch.tanh(image) if self.squash else image

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor | float]:
        """Return the discriminator's adversarial loss, and its weighted gradient penalty."""
        if not self.r1:
            return self.loss.discriminator(self.discriminator(real), self.discriminator(fake)), 0.0
        real = real.detach().requires_grad_()
        logits = self.discriminator(real)
        loss = self.loss.discriminator(logits, self.discriminator(fake))
        return loss, self.r1 / 2 * gradient_penalty(logits, real)

    def generator_loss(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor | float]:
        """Return the generator's adversarial loss, and its weighted distance of features."""
        loss = self.loss.generator(self.discriminator(fake))
        if not self.feature_matching:
            return loss, 0.0
        features: Callable[[Tensor], Tensor] = self.discriminator.features  # type: ignore[assignment]
        return loss, self.feature_matching * feature_distance(features(real), features(fake))

    def losses(self, real: Tensor, fake: Tensor) -> Mapping[str, Tensor]:
        """Return both adversarial losses."""
        logits = self.discriminator(fake)
        return {
            "loss_d": self.loss.discriminator(self.discriminator(real), logits),
            "loss_g": self.loss.generator(logits),
        }

    def _update(self, network: str, optimizer: LightningOptimizer, loss: Tensor) -> None:
        """Make one step of one network's optimiser."""
        self.updated = network
        optimizer.zero_grad()
        strategy = self.trainer.strategy
        # DDP waits for a gradient of every parameter, and here there are those of one network
        with strategy.block_backward_sync() if isinstance(strategy, ParallelStrategy) else nullcontext():
            self.manual_backward(loss)
        if self.trainer.world_size > 1:
            self._average_gradients(optimizer)
        optimizer.step()

    def _average_gradients(self, optimizer: LightningOptimizer) -> None:
        gradients = [
            weight.grad for group in optimizer.param_groups for weight in group["params"] if weight.grad is not None
        ]
        mean = self.mean_over_ranks(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))
