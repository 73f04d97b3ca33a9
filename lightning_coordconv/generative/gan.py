"""The task of training a GAN, a generator against a discriminator (paper, section 5.3)."""

import copy
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, cast

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.strategies import ParallelStrategy
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.swa_utils import get_ema_multi_avg_fn

from lightning_coordconv.core.full_precision import in_full_precision
from lightning_coordconv.core.network_options import apply_network_options
from lightning_coordconv.core.task import Batch
from lightning_coordconv.generative.latents import Distribution
from lightning_coordconv.generative.losses import LOSSES, feature_distance, gradient_penalty
from lightning_coordconv.generative.networks import to_images
from lightning_coordconv.generative.task import GenerativeTask


class GAN(GenerativeTask):
    """Train a generator against a discriminator.

    An iteration takes a batch of real images and as many latent vectors, and makes ``discriminator_steps`` steps, then
    ``generator_steps`` steps with them. The discriminator sees real and generated images in separate batches, as in the
    reference implementation. The generated images of the discriminator's steps also serve the first generator step.

    Lightning counts the steps of both optimisers: by default ``global_step`` and ``max_steps`` grow by 3 an iteration.

    Under DDP each optimiser's gradients are averaged over ranks in one message. For batch norm over the images of all
    ranks set ``trainer.sync_batchnorm``.

    Logged in addition to the metrics of :class:`~lightning_coordconv.generative.GenerativeTask`: the adversarial losses
    without penalties, ``loss_d`` and ``loss_g``, for ``train``, ``val`` and ``test``.

    Args:
        generator: maps latent vectors (B, latent_size) to images (B, C, H, W) before tanh.
        discriminator: maps images in [-1, 1] to logits (B,), high for real ones; for feature matching it also has a
            method ``features`` from images to (B, F).
        generator_optimizer: builds the generator's optimiser from its parameters.
        discriminator_optimizer: builds the discriminator's.
        lr_scheduler: builds the learning rate schedule of either optimiser, which advances once an iteration; none by
            default.
        loss: ``"non-saturating"``, ``"hinge"`` or ``"least-squares"``.
        discriminator_steps: steps an iteration, at least 1.
        generator_steps: steps an iteration, at least 1; 2 as in the reference implementation.
        r1: weight of the R1 penalty, half the mean squared gradient norm (Mescheder et al., 2018); 0 for none.
        feature_matching: weight of feature matching in the generator's loss; 0 for none.
        ema_decay: samples are drawn from an exponential moving average of the generator, with this decay an iteration,
            in [0, 1); ``None``: from the generator itself.
        squash: whether the discriminator sees generated images after tanh. False as the authors' CoordConv GAN, whose
            discriminator sees the generator's output before tanh.
        latent_size: see :class:`~lightning_coordconv.generative.GenerativeTask` for this and the following arguments.
        latent: see there.
        binary_latents: see there.
        object_radius: see there.
        features: see there.
        compile: compile both networks with ``torch.compile``. With ``r1``, the discriminator's steps are not compiled:
            torch 2.15 has no second derivatives of compiled code. Nor are its ``features``.
        channels_last: keep the networks' weights in the memory format channels last.

    Raises:
        ValueError: for an unknown loss, numbers out of range, or networks that do not fit each other.
    """

    unsaved_hparams: frozenset[str] = frozenset(
        {"generator", "discriminator", "generator_optimizer", "discriminator_optimizer", "lr_scheduler"}
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
        compile: bool = False,
        channels_last: bool = True,
    ) -> None:
        super().__init__(generator, latent_size, latent, binary_latents, object_radius, features)
        if loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}")
        for name, value in (("discriminator_steps", discriminator_steps), ("generator_steps", generator_steps)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name, weight in (("r1", r1), ("feature_matching", feature_matching)):
            if not 0 <= weight < float("inf"):
                raise ValueError(f"{name} must be finite and not negative, got {weight}")
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
        self.compiled = compile
        for network in (generator, discriminator):
            apply_network_options(network, compile, channels_last)
        self.average: nn.Module | None = None
        if ema_decay is not None:
            self.average = copy.deepcopy(generator).requires_grad_(False)
            self.update_average = get_ema_multi_avg_fn(ema_decay)
        self.automatic_optimization = False

    @property
    def sampled_generator(self) -> nn.Module:
        """The averaged generator, or the generator itself if there is no average."""
        return self.generator if self.average is None else self.average

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[Any]]:
        """Build both optimisers and their schedules.

        Raises:
            ValueError: for a schedule that follows a metric: it advances once an iteration.
        """
        optimizers = [
            self.discriminator_optimizer(self.discriminator.parameters()),
            self.generator_optimizer(self.generator.parameters()),
        ]
        schedules = [] if self.lr_scheduler is None else [self.lr_scheduler(each) for each in optimizers]
        if any(isinstance(each, ReduceLROnPlateau) for each in schedules):
            raise ValueError("lr_scheduler advances once an iteration, and cannot be ReduceLROnPlateau here")
        return optimizers, schedules

    def check(self) -> None:
        """Build the injected optimisers and schedules once, to see that their arguments are valid."""
        GAN.configure_optimizers(self)  # a subclass's may need the trainer, which there is not yet

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Train both networks with one batch."""
        real = self.real_images(batch)
        share = self.share(len(real))
        latent = self.draw(self.latents, len(real), batch_idx)
        optimizer_d, optimizer_g = cast(list[LightningOptimizer], self.optimizers())
        fake = self.visible(self.generator(latent))
        for _ in range(self.discriminator_steps):
            loss_d, penalty = self.discriminator_loss(real, fake.detach())
            self._update("discriminator", optimizer_d, (loss_d + penalty) * share)
        with self.toggled_optimizer(optimizer_g):  # without the discriminator's gradients, a third of the backward pass
            for step in range(self.generator_steps):
                fake = fake if step == 0 else self.visible(self.generator(latent))
                loss_g, distance = self.generator_loss(real, fake)
                self._update("generator", optimizer_g, (loss_g + distance) * share)
        if self.lr_scheduler is not None:
            for schedule in self.lr_schedulers():  # type: ignore[union-attr]
                schedule.step()
        if self.average is not None:
            self._average_weights(self.average)
        self.log_dict({"train/loss_d": loss_d.detach(), "train/loss_g": loss_g.detach()}, prog_bar=True)

    def visible(self, output: Tensor) -> Tensor:
        """Return what the discriminator sees of the generator's output."""
        return to_images(output) if self.squash else output

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor | float]:
        """Return the discriminator's adversarial loss, and its weighted gradient penalty."""
        if not self.r1:
            return self.loss.discriminator(self.discriminator(real), self.discriminator(fake)), 0.0
        real = real.detach().requires_grad_()
        # Compiled code cannot be differentiated twice
        with torch.compiler.set_stance("force_eager") if self.compiled else nullcontext():
            logits = self.discriminator(real)
            loss = self.loss.discriminator(logits, self.discriminator(fake))
        return loss, self.r1 / 2 * gradient_penalty(logits, real)

    def generator_loss(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor | float]:
        """Return the generator's adversarial loss, and its weighted feature distance."""
        loss = self.loss.generator(self.discriminator(fake))
        if not self.feature_matching:
            return loss, 0.0
        features: Callable[[Tensor], Tensor] = self.discriminator.features  # type: ignore[assignment]
        return loss, self.feature_matching * feature_distance(features(real), features(fake))

    def evaluation_losses(self, real: Tensor, output: Tensor, latents: Tensor) -> Mapping[str, Tensor]:
        """Return both adversarial losses, without penalties."""
        logits = in_full_precision(self.discriminator(self.visible(output)))
        return {
            "loss_d": self.loss.discriminator(in_full_precision(self.discriminator(real)), logits),
            "loss_g": self.loss.generator(logits),
        }

    def _update(self, network: str, optimizer: LightningOptimizer, loss: Tensor) -> None:
        """Make one step of one network's optimiser."""
        self.updated = network
        optimizer.zero_grad()
        strategy = self.trainer.strategy
        # DDP would wait for a gradient of every parameter, and this loss has gradients for one network only
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

    def _average_weights(self, average: nn.Module) -> None:
        """Update the moving average; torch's AveragedModel would read its counter from the device at every step."""
        states = ([*net.parameters(), *net.buffers()] for net in (average, self.generator))
        pairs = [(mean, new.detach()) for mean, new in zip(*states, strict=True) if mean.is_floating_point()]
        self.update_average([mean for mean, _ in pairs], [new for _, new in pairs], len(pairs))
        with torch.no_grad():  # the mean of singular vectors, as of spectral norm, is none: it is iterated once more
            for module in filter(parametrize.is_parametrized, average.train().modules()):
                for name in cast(nn.ModuleDict, module.parametrizations):
                    getattr(module, name)
