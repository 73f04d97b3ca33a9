"""What tasks share whose network makes images of latent vectors: sampling, and what is measured of samples."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import torch
from pytorch_lightning import Callback
from torch import Tensor, nn
from torchmetrics import MetricCollection

from lightning_coordconv.core.task import BaseTask, Batch, Outputs
from lightning_coordconv.generative.figures.interpolation import Interpolation
from lightning_coordconv.generative.figures.object_positions import ObjectPositionFigures
from lightning_coordconv.generative.figures.samples import GeneratedImages, SampleGrid
from lightning_coordconv.generative.latents import Distribution, Noise
from lightning_coordconv.generative.metrics.features import (
    FrechetDistance,
    FrozenFeatures,
    PooledPixels,
    PrecisionRecall,
)
from lightning_coordconv.generative.metrics.interpolation import path_smoothness
from lightning_coordconv.generative.metrics.object_kinds import ObjectKindEntropy
from lightning_coordconv.generative.metrics.object_positions import (
    ObjectFlaws,
    ObjectPositionDivergence,
    ObjectPositionEntropy,
)
from lightning_coordconv.generative.metrics.objects import find_objects

FIXED = 64
"""Latent vectors that pictures are made of, the same ones in every epoch."""
PATHS, FRAMES = 16, 16
"""Interpolations that smoothness is measured on, and their length."""
CHUNK = 64
"""Images that are generated at a time."""


class GenerativeTask(BaseTask):
    """A generator of images, and what its samples are worth.

    For each real image of a validation or test batch one is generated. Logged as ``val/...`` and ``test/...``:

    - with ``object_radius``: what :class:`~lightning_coordconv.generative.ObjectPositionEntropy`,
      :class:`~lightning_coordconv.generative.ObjectPositionDivergence`,
      :class:`~lightning_coordconv.generative.ObjectFlaws` and
      :class:`~lightning_coordconv.generative.ObjectKindEntropy` return; in a test also ``path_intact`` and
      ``path_jump`` (:func:`~lightning_coordconv.generative.path_smoothness`). Judged by ``val/kl``.
    - ``fid`` (lower is better), ``precision`` and ``recall`` (higher is better) of the features. Judged by ``val/fid``
      if there is no ``object_radius``.

    The random stream that training draws from is part of the checkpoint; evaluation draws the same vectors each time.
    Both are ruled by torch's seed at the time of construction.

    Args:
        generator: maps latent vectors (B, latent_size) to images (B, C, H, W) before tanh.
        latent_size: length of the vectors.
        latent: their distribution, ``"uniform"`` in [-1, 1] or ``"normal"``.
        binary_latents: how many of their numbers, the first ones, are -1 or 1 instead, a coin each: for what the images
            have in kinds, not degrees, as InfoGAN's categorical codes (Chen et al., 2016).
        object_radius: of the objects in two-object Sort-of-CLEVR images; ``None`` for other images.
        features: network that maps images in [-1, 1] to features (B, F) for FID, precision and recall. By default the
            images averaged over a 4x4 grid, for want of trained weights: such an "FID" compares with no published one.

    Raises:
        ValueError: for an unknown distribution, more ``binary_latents`` than ``latent_size``, and a generator that does
            not fit ``latent_size``.
    """

    sample_keys: ClassVar[frozenset[str]] = frozenset({"image"})

    fixed_latents: Tensor

    def __init__(
        self,
        generator: nn.Module,
        latent_size: int,
        latent: Distribution,
        object_radius: int | None,
        features: nn.Module | None,
        binary_latents: int = 0,
    ) -> None:
        super().__init__()
        self.generator = generator
        self.object_radius = object_radius
        self.seed = torch.initial_seed()
        noise = partial(Noise, latent_size, latent, binary=binary_latents)
        self.noise = noise(seed=self.seed)
        self.evaluation_noise = noise(seed=self.seed + 1)
        self.register_buffer("fixed_latents", noise(seed=self.seed + 2).draw(FIXED))
        self.image_shape = self._try(generator, torch.zeros(1, latent_size), "the generator", "vectors").shape[1:]
        self.features = FrozenFeatures(PooledPixels() if features is None else features)
        length = self._try(self.features, torch.zeros(1, *self.image_shape), "the feature network", "images").shape[1]
        metrics: dict[str, Any] = {"fid": FrechetDistance(length), "manifold": PrecisionRecall()}
        if object_radius is not None:
            metrics["entropy"] = ObjectPositionEntropy(object_radius)
            metrics["divergence"] = ObjectPositionDivergence(object_radius)
            metrics["flaws"] = ObjectFlaws(object_radius)
            metrics["kinds"] = ObjectKindEntropy(object_radius)
        self.monitor = "val/fid" if object_radius is None else "val/kl"
        self.val_metrics = MetricCollection(metrics, prefix="val/", compute_groups=False)
        self.test_metrics = self.val_metrics.clone(prefix="test/")

    def figures(self) -> list[Callback]:
        """Return the figures of samples, of interpolations and, with ``object_radius``, of positions."""
        positions = [ObjectPositionFigures()] if self.object_radius is not None else []
        return [SampleGrid(), *positions, Interpolation(), GeneratedImages()]

    def forward(self, latent: Tensor) -> Tensor:
        """Map latent vectors (B, latent_size) to images (B, C, H, W) in [-1, 1], in float32 at least."""
        image: Tensor = self.sampled(latent)
        return torch.tanh(image.to(torch.promote_types(image.dtype, torch.float32)))

    @property
    def sampled(self) -> nn.Module:
        """The network that samples are drawn from."""
        return self.generator

    def losses(self, real: Tensor, fake: Tensor) -> Mapping[str, Tensor]:
        """Return what to log of real and generated images, besides the metrics."""
        raise NotImplementedError(f"{type(self).__name__} must implement losses(real, fake)")

    def images(self, batch: Batch) -> Tensor:
        """Return the real images of a batch.

        Raises:
            ValueError: if the generator makes images of another shape.
        """
        image = batch["image"]
        if image.shape[1:] != self.image_shape:
            raise ValueError(
                f"the data has images {tuple(image.shape[1:])}, but the generator makes {tuple(self.image_shape)}: "
                "give both the same size"
            )
        return image

    @torch.no_grad()
    def generate(self, latents: Tensor) -> Tensor:
        """Return images (..., C, H, W) in [-1, 1] of any number of latent vectors (..., latent_size)."""
        images = torch.cat([self(chunk) for chunk in latents.flatten(0, -2).split(CHUNK)])
        return images.unflatten(0, latents.shape[:-1])

    def paths(self, count: int = PATHS, frames: int = FRAMES) -> Tensor:
        """Return images (count, frames, C, H, W) on the way between fixed latent vectors, at most 32 pairs of them."""
        starts, ends = self.fixed_latents[: 2 * count].view(-1, 2, self.fixed_latents.shape[1]).unbind(1)
        return self.generate(self.noise.between(starts, ends, frames))

    def on_validation_epoch_start(self) -> None:
        """Begin the evaluation's random stream anew."""
        self.evaluation_noise.generator.manual_seed(self.seed + 1)

    on_test_epoch_start = on_predict_epoch_start = on_validation_epoch_start

    def validation_step(self, batch: Batch, batch_idx: int) -> Outputs:
        """Update the validation metrics."""
        return self._evaluate(batch, self.val_metrics, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> Outputs:
        """Update the test metrics; return real and generated images, and the centres of their objects."""
        outputs = self._evaluate(batch, self.test_metrics, "test")
        if self.object_radius is not None:
            centres = {key: find_objects(outputs[key], self.object_radius).centres for key in ("real", "generated")}
            outputs |= {f"{key}_centres": value for key, value in centres.items()}
        return outputs

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics."""
        self._log(self.val_metrics, "val")

    def on_test_epoch_end(self) -> None:
        """Log the test metrics, and how smooth interpolations are."""
        self._log(self.test_metrics, "test")
        if self.object_radius is not None:
            smoothness = path_smoothness(self.paths(), self.object_radius)
            self.log_dict({f"test/path_{name}": value for name, value in smoothness.items()}, rank_zero_only=True)

    def predict_step(self, batch: Batch, batch_idx: int) -> Outputs:
        """Return as many samples as there are images in the batch, (B, C, H, W) in [-1, 1]."""
        return {"image": self(self.draw(self.evaluation_noise, len(batch["image"])))}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the state of the training's random stream."""
        checkpoint["noise"] = self.noise.generator.get_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the state of the training's random stream."""
        self.noise.generator.set_state(checkpoint["noise"].cpu())

    def draw(self, noise: Noise, count: int) -> Tensor:
        """Return this rank's next latent vectors (count, latent_size)."""
        return noise.draw(count, self.global_rank, self.trainer.world_size).to(self.fixed_latents)

    def _evaluate(self, batch: Batch, metrics: MetricCollection, stage: str) -> Outputs:
        real = self.images(batch)
        fake = self(self.draw(self.evaluation_noise, len(real)))
        features = {"pred_features": self.features(fake), "target_features": self.features(real)}
        metrics.update(preds=fake, target=real, **features)
        losses = {f"{stage}/{name}": value for name, value in self.losses(real, fake).items()}
        self.log_dict(losses, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(real))
        return {"real": real, "generated": fake}

    def _log(self, metrics: MetricCollection, stage: str) -> None:
        values = metrics.compute()
        metrics.reset()
        self.log_dict({name: value.float() for name, value in values.items()}, prog_bar=False)

    @torch.no_grad()
    def _try(self, network: nn.Module, inputs: Tensor, name: str, kind: str) -> Tensor:
        """Run a network on one sample, so that what cannot fit is refused before anything is written."""
        training = network.training
        try:
            output: Tensor = network.eval()(inputs)
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"{name} does not take {kind} of shape {tuple(inputs.shape)}: {error}") from error
        network.train(training)
        return output
