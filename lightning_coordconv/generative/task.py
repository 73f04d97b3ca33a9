"""Base class of generative tasks: draws latent vectors, generates images and measures them against real ones."""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import torch
from pytorch_lightning import Callback
from torch import Tensor, nn
from torchmetrics import MetricCollection

from lightning_coordconv.core.loading import ResumableDataLoader
from lightning_coordconv.core.metrics import MeanTerms
from lightning_coordconv.core.modes import evaluating
from lightning_coordconv.core.task import BaseTask, Batch, Outputs
from lightning_coordconv.core.transfers import to_device
from lightning_coordconv.generative.figures.interpolation import Interpolation
from lightning_coordconv.generative.figures.object_positions import ObjectPositionFigures
from lightning_coordconv.generative.figures.samples import GeneratedImages, SampleGrid
from lightning_coordconv.generative.latents import FIXED_LATENTS, Distribution, LatentSampler
from lightning_coordconv.generative.metrics.feature_metrics import FrechetDistance, PrecisionRecall
from lightning_coordconv.generative.metrics.features import FrozenFeatures, PooledPixels
from lightning_coordconv.generative.metrics.interpolation import interpolation_smoothness
from lightning_coordconv.generative.metrics.object_flaws import ObjectFlaws
from lightning_coordconv.generative.metrics.object_kinds import ObjectKindEntropy
from lightning_coordconv.generative.metrics.object_positions import ObjectPositionDivergence, ObjectPositionEntropy
from lightning_coordconv.generative.metrics.objects import find_objects
from lightning_coordconv.generative.metrics.variation import SampleVariation
from lightning_coordconv.generative.networks import to_images

PATHS, FRAMES = 16, 16
"""Number of interpolations that smoothness is measured on, and images in each."""
CHUNK = 64
"""Number of images generated at a time."""
ROUNDING = 1e-2
"""By how much real images may exceed [-1, 1]: as much as bfloat16 rounds."""
COLLAPSED = 0.005
"""Variation of generated images, relative to real ones, below which a warning says that the generator collapsed."""

log = logging.getLogger(__name__)


class GenerativeTask(BaseTask):
    """Base of tasks that train a generator of images, and measure its samples.

    One image is generated for each real image of a validation or test batch. Logged as ``val/...`` and ``test/...``:

    - ``variation``: see :class:`~lightning_coordconv.generative.SampleVariation`. A warning in the log names the epoch
      in which it is close to 0: the generator has collapsed to one image, such as an empty canvas.
    - ``fid`` (lower is better), ``precision`` and ``recall`` (higher is better) of the features.
    - with ``object_radius``: the results of :class:`~lightning_coordconv.generative.ObjectPositionEntropy`,
      :class:`~lightning_coordconv.generative.ObjectPositionDivergence`,
      :class:`~lightning_coordconv.generative.ObjectFlaws` and
      :class:`~lightning_coordconv.generative.ObjectKindEntropy`; in a test also ``path_intact`` and ``path_jump``
      (:func:`~lightning_coordconv.generative.interpolation_smoothness`).

    All are NaN if a value of a generated image is, but for those of real images alone.

    The best checkpoint is that of the lowest ``val/kl`` with ``object_radius``, and of the lowest ``val/fid`` without.

    The state of the random stream that training draws latent vectors from is part of the checkpoint; every evaluation
    draws the same vectors, also of a checkpoint. Both streams depend on torch's seed when the task is built.

    Subclasses repeat these arguments in their signatures, because editors and the reference show only what a
    signature names.

    Args:
        generator: maps latent vectors (B, latent_size) to images (B, C, H, W) before tanh.
        latent_size: length of the latent vectors.
        latent: their distribution, ``"uniform"`` in [-1, 1] or ``"normal"``.
        binary_latents: number of elements, the first ones of each latent vector, that are -1 or 1 with equal
            probability instead: for discrete properties of the images, like InfoGAN's categorical codes (Chen et al.,
            2016).
        object_radius: of the objects in pixels, for two-object Sort-of-CLEVR images; ``None`` for other images.
        features: network that maps images in [-1, 1] to features (B, F) for FID, precision and recall. The default is
            :class:`~lightning_coordconv.generative.PooledPixels`, which needs no trained weights: such an "FID" cannot
            be compared with published ones.

    Raises:
        ValueError: for an unknown distribution, numbers out of range, or a generator that does not fit ``latent_size``;
            in an evaluation, if there is an ``object_radius`` and no real image has two objects of that radius.
    """

    sample_keys: frozenset[str] = frozenset({"image"})
    half_weights: ClassVar[bool] = False
    least: ClassVar[tuple[str, ...]] = ("loss", "fid", "kl", "missing", "extra", "broken", "path_jump")
    greatest: ClassVar[tuple[str, ...]] = ("precision", "recall", "variation", "well_formed", "coverage", "path_intact")

    fixed_latents: Tensor

    def __init__(
        self,
        generator: nn.Module,
        latent_size: int,
        latent: Distribution,
        binary_latents: int,
        object_radius: int | None,
        features: nn.Module | None,
    ) -> None:
        super().__init__()
        if object_radius is not None and object_radius < 1:
            raise ValueError(f"object_radius must be at least 1 or null, got {object_radius}")
        self.generator = generator
        self.object_radius = object_radius
        self.seed = torch.initial_seed()
        sampler = partial(LatentSampler, latent_size, latent, binary=binary_latents)
        self.latents = sampler(seed=self.seed)
        self.evaluation_seed = self.seed + 1
        self.evaluation_latents = sampler(seed=self.evaluation_seed)
        self.register_buffer("fixed_latents", sampler(seed=self.seed + 2).draw(FIXED_LATENTS))
        self.image_shape = self._try(generator, torch.zeros(1, latent_size), "the generator", "vectors").shape[1:]
        self.features = FrozenFeatures(PooledPixels() if features is None else features)
        length = self._try(self.features, torch.zeros(1, *self.image_shape), "the feature network", "images").shape[1]
        metrics: dict[str, Any] = {"variation": SampleVariation(self.image_shape)}
        metrics |= {"fid": FrechetDistance(length), "manifold": PrecisionRecall()}
        if object_radius is not None:
            metrics["entropy"] = ObjectPositionEntropy(object_radius)
            metrics["divergence"] = ObjectPositionDivergence(object_radius)
            metrics["flaws"] = ObjectFlaws(object_radius)
            metrics["kinds"] = ObjectKindEntropy(object_radius)
        self.monitor = "val/fid" if object_radius is None else "val/kl"
        self.val_metrics = MetricCollection(metrics, prefix="val/", compute_groups=False)
        self.test_metrics = self.val_metrics.clone(prefix="test/")
        self.has_seen_images = False
        self.losses = MeanTerms()  # Lightning's mean over ranks is wrong if they have unequal numbers of samples
        self.loss_names: tuple[str, ...] = ()

    def figures(self) -> list[Callback]:
        """Return the figures of samples, of interpolations and, with ``object_radius``, of positions."""
        positions = [ObjectPositionFigures()] if self.object_radius is not None else []
        return [SampleGrid(), *positions, Interpolation(), GeneratedImages()]

    @property
    def sampled_generator(self) -> nn.Module:
        """The network that samples are generated with, which may be an average of the trained one."""
        return self.generator

    def forward(self, latent: Tensor) -> Tensor:
        """Map latent vectors (B, latent_size) to images (B, C, H, W) in [-1, 1], in float32 at least."""
        return to_images(self.sampled_generator(latent))

    def evaluation_losses(self, real: Tensor, output: Tensor, latents: Tensor) -> Mapping[str, Tensor]:
        """Return the losses to log of an evaluation batch, by name.

        Args:
            real: images (B, C, H, W) in [-1, 1].
            output: output of the generator before tanh, of the same shape.
            latents: the vectors (B, latent_size) that it was made from. To draw others would move the random stream,
                so that samples depended on the size of the batches.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement evaluation_losses(real, output, latents)")

    def look_at(self, batch: Any) -> None:
        """Check that the images of a batch, which is still on the host, are in [-1, 1], where tanh can follow them.

        A warning in the log says that the first batch has no negative value, as images in [0, 1] have none.

        Raises:
            ValueError: naming their lowest and their highest value.
        """
        images = batch["image"]
        if images.is_cpu:
            low, high = images.amin().item(), images.amax().item()
            if not (low >= -1 - ROUNDING and high <= 1 + ROUNDING):  # also if NaN
                raise ValueError(f"the data must have images in [-1, 1], got values from {low:g} to {high:g}")
            if low >= 0 and not self.has_seen_images:
                log.warning(
                    f"the first images have values from {low:g} to {high:g}, none below 0: black is -1 here, so images "
                    "in [0, 1] would be learnt as bright ones; scale them to [-1, 1]"
                )
            self.has_seen_images = True

    def real_images(self, batch: Batch) -> Tensor:
        """Return the images of a batch.

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

    def draw(self, sampler: LatentSampler, count: int, batch_idx: int | None = None) -> Tensor:
        """Return this rank's next latent vectors (count, latent_size), on the device; for which training batch."""
        ranks = self.trainer.world_size
        # Ranks can have unequal shares of the last training batch of an epoch, after which the stream goes on.
        loader = None if batch_idx is None else self.trainer.train_dataloader
        of_all = loader.samples_in(batch_idx or 0) if isinstance(loader, ResumableDataLoader) else None
        vectors = sampler.draw(count * ranks if of_all is None else of_all, self.global_rank, ranks)
        return to_device(vectors.to(self.fixed_latents.dtype), self.device)

    @torch.no_grad()
    def generate(self, latents: Tensor) -> Tensor:
        """Return images (..., C, H, W) in [-1, 1] of any number of latent vectors (..., latent_size)."""
        images = torch.cat([self(chunk) for chunk in latents.flatten(0, -2).split(CHUNK)])
        return images.unflatten(0, latents.shape[:-1])

    def paths(self, count: int = PATHS, frames: int = FRAMES) -> Tensor:
        """Return images (count, frames, C, H, W) of interpolations between fixed latent vectors; at most 32 paths."""
        starts, ends = self.fixed_latents[: 2 * count].view(-1, 2, self.fixed_latents.shape[1]).unbind(1)
        return self.generate(self.latents.interpolate(starts, ends, frames))

    def on_validation_epoch_start(self) -> None:
        """Restart the random stream of evaluations."""
        self.evaluation_latents.generator.manual_seed(self.evaluation_seed)

    on_test_epoch_start = on_validation_epoch_start

    def on_predict_epoch_start(self) -> None:
        """Restart it at the seed of the task itself: predictions are what ``load(...).sample(n, seed)`` returns."""
        self.evaluation_latents.generator.manual_seed(self.seed)

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
            smoothness = interpolation_smoothness(self.paths(), self.object_radius)
            self.log_dict({f"test/path_{name}": value for name, value in smoothness.items()}, rank_zero_only=True)

    def predict_step(self, batch: Batch, batch_idx: int) -> Outputs:
        """Return as many generated images as the batch has, (B, C, H, W) in [-1, 1]."""
        return {"image": self(self.draw(self.evaluation_latents, len(batch["image"])))}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the state of the random stream that training draws from, and the seed of that of evaluations."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["latents"] = self.latents.generator.get_state()
        checkpoint["evaluation_seed"] = self.evaluation_seed

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the state of the random stream that training draws from, and the seed of that of evaluations."""
        super().on_load_checkpoint(checkpoint)
        self.latents.generator.set_state(checkpoint["latents"].cpu())
        self.evaluation_seed = checkpoint.get("evaluation_seed", self.evaluation_seed)

    def _evaluate(self, batch: Batch, metrics: MetricCollection, stage: str) -> Outputs:
        real = self.real_images(batch)
        latents = self.draw(self.evaluation_latents, len(real))
        output = self.sampled_generator(latents)
        fake = to_images(output)
        features = {"pred_features": self.features(fake), "target_features": self.features(real)}
        metrics.update(preds=fake, target=real, **features)
        losses = self.evaluation_losses(real, output, latents)
        self.loss_names = tuple(losses)
        self.losses.update(torch.stack([*losses.values(), fake.mean()]), len(real))  # NaN if a generated image is
        return {"real": real, "generated": fake}

    def _log(self, metrics: MetricCollection, stage: str) -> None:
        *losses, brightness = self.losses.compute()
        values = {
            name: value.float().masked_fill(brightness.isnan() & ("/data_" not in name), torch.nan)
            for name, value in metrics.compute().items()
        }
        values |= {f"{stage}/{name}": value for name, value in zip(self.loss_names, losses, strict=True)}
        metrics.reset()
        self.losses.reset()
        for shown in (False, True):
            self.log_dict({name: values[name] for name in values if (name == self.monitor) is shown}, prog_bar=shown)
        if self.object_radius is not None and values[f"{stage}/data_entropy_kinds"].isnan():
            raise ValueError(
                f"no real image has a blue and a red object of radius {self.object_radius} on white, so that generated "
                "objects cannot be judged: set model.object_radius to null for other images, or to their radius"
            )
        variation = values[f"{stage}/variation"].item()
        if variation < COLLAPSED and self.trainer.is_global_zero and not self.trainer.sanity_checking:
            log.warning(
                f"epoch {self.trainer.current_epoch}: the generator has collapsed, all its images are nearly the same "
                f"({stage}/variation {variation:.2g}; real images have 1); more training seldom mends this"
            )

    @torch.no_grad()
    def _try(self, network: nn.Module, inputs: Tensor, name: str, kind: str) -> Tensor:
        """Run a network on one sample, so that one that does not fit is refused before anything is written."""
        with evaluating(network):
            try:
                output: Tensor = network(inputs)
            except (RuntimeError, ValueError) as error:
                raise ValueError(f"{name} does not take {kind} of shape {tuple(inputs.shape)}: {error}") from error
        return output
