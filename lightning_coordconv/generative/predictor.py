"""Trained generator for use in Python: loads, samples, interpolates, exports; classes of the images that it returns."""

import copy
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor, nn

from lightning_coordconv.core.arguments import check_at_least
from lightning_coordconv.core.export import Exportable, ExportError
from lightning_coordconv.core.modes import predicting
from lightning_coordconv.core.pictures import grid, save_gif, to_bytes, to_image
from lightning_coordconv.core.predictor import Predictor, Result, Size, writing
from lightning_coordconv.core.prepared_network import PreparedNetwork
from lightning_coordconv.core.sources import Images
from lightning_coordconv.generative.latents import LatentSampler
from lightning_coordconv.generative.networks import to_images
from lightning_coordconv.generative.task import GenerativeTask


@dataclass(frozen=True, repr=False)
class GeneratedSamples(Result):
    """Generated images.

    Attributes:
        images: (n, C, H, W), float32 in [-1, 1], on the CPU.
        latents: the latent vectors (n, latent_size) that they were generated from.
    """

    images: Tensor
    latents: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        count, channels, height, width = self.images.shape
        return f"{count} images, {channels} x {height} x {width}"

    def draw(self) -> Image.Image:
        """Draw a grid of the images."""
        return to_image(grid(self.images))

    def to_pillow(self) -> list[Image.Image]:
        """Return the images as Pillow images."""
        return [to_image(to_bytes(image)) for image in self.images]

    def save_each(self, folder: str | Path) -> Path:
        """Write each image to a separate PNG file, ``00000.png`` and so on, and return the folder.

        Raises:
            FileExistsError: if the folder has images of a larger set, of which some would stay between the new ones.
            OSError: naming the file that cannot be written.
        """
        if (left := next(Path(folder).glob(f"{len(self):05d}.*"), None)) is not None:
            raise FileExistsError(
                f"{left} is there from a set of more than {len(self)} images: remove it, or choose another folder"
            )
        for number, image in enumerate(self.to_pillow()):
            with writing(Path(folder) / f"{number:05d}.png") as target:
                image.save(target)
        return Path(folder)


@dataclass(frozen=True, repr=False)
class Interpolations(Result):
    """Generated images while latent vectors change into others.

    Attributes:
        images: (P, T, C, H, W), float32 in [-1, 1], on the CPU: T images on each of P paths.
    """

    images: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        paths, frames, channels, height, width = self.images.shape
        return f"{paths} interpolations of {frames} images, {channels} x {height} x {width}"

    def draw(self) -> Image.Image:
        """Draw a row of images for each path."""
        return to_image(grid(self.images.flatten(0, 1), self.images.shape[1]))

    def save(self, path: str | Path) -> Path:
        """Write the rows of images to a file, or an animation of all paths if its suffix is ``.gif``; return the path.

        Raises:
            OSError: naming the path, if it cannot be written or has the suffix of no image format.
        """
        if Path(path).suffix.lower() != ".gif":
            return super().save(path)
        with writing(path) as target:
            save_gif(target, [grid(frame, 4) for frame in self.images.unbind(1)])
        return target


class GenerativePredictor(Predictor[GenerativeTask]):
    """A trained generator; see :meth:`load`. Images come from the averaged generator where there is one."""

    kinds = (GenerativeTask,)

    def sample(self, n: int = 64, seed: int = 0) -> GeneratedSamples:
        """Return generated images, the same for the same seed on any device.

        Args:
            n: number of images.
            seed: of the latent vectors; not negative.

        Raises:
            ValueError: if ``n`` is not positive or the seed is negative.
        """
        check_at_least(1, n=n)
        latents = self._sampler(seed).draw(n)
        return GeneratedSamples(self._generate(latents), latents)

    def interpolate(self, n: int = 8, frames: int = 16, seed: int = 0) -> Interpolations:
        """Return images of paths between pairs of random latent vectors.

        Args:
            n: number of paths.
            frames: images on each path, both ends included; at least 2.
            seed: of the latent vectors; not negative. The ends are the images that ``sample(2 * n, seed)`` returns.

        Raises:
            ValueError: for a number that is too small.
        """
        check_at_least(1, n=n)
        check_at_least(2, frames=frames)
        starts, ends = self._sampler(seed).draw(2 * n).unflatten(0, (n, 2)).unbind(1)
        return Interpolations(self._generate(self.task.latents.interpolate(starts, ends, frames)))

    def generate(self, latents: Tensor) -> GeneratedSamples:
        """Return the images of given latent vectors.

        Args:
            latents: (n, latent_size), floating-point.

        Raises:
            ValueError: for another shape.
        """
        size = self.task.latents.size
        if latents.ndim != 2 or latents.shape[1] != size or not latents.is_floating_point():
            raise ValueError(f"latents must be floating-point, (n, {size}), got {latents.dtype} {tuple(latents.shape)}")
        return GeneratedSamples(self._generate(latents), latents)

    def exportable(self, size: Size | None, images: Images | None = None) -> Exportable:
        """Return the generator from latent vectors (B, latent_size) to images (B, C, H, W) in [-1, 1].

        The metadata have the arguments of the task that say how latent vectors are distributed, ``latent_size``,
        ``latent`` (``"uniform"`` in [-1, 1], or standard ``"normal"``) and ``binary_latents``, and the lowest and the
        highest value of the images, ``image_range``.
        """
        if images is not None:
            raise ExportError("a generator takes no images: leave out --images")
        _, height, width = self.task.image_shape
        if size not in (None, (height, width)):
            raise ExportError(f"the generator makes images of {height} x {width} pixels, and no others: {size}")
        net = copy.deepcopy(self.task.sampled_generator).cpu()
        module = PreparedNetwork(net, nn.Identity(), to_images)
        examples = tuple((self._sampler(seed).draw(count),) for seed, count in enumerate((2, 1, 3)))
        known = self.task.latents
        latent = {"latent_size": known.size, "latent": known.distribution, "binary_latents": known.binary}
        metadata = latent | {"image_range": [-1, 1]}
        return Exportable(module, examples, ("latent",), ("image",), {0: "batch"}, metadata)

    def _sampler(self, seed: int) -> LatentSampler:
        check_at_least(0, seed=seed)
        known = self.task.latents
        return LatentSampler(known.size, known.distribution, seed, known.binary)

    def _generate(self, latents: Tensor) -> Tensor:
        with predicting(self.task):
            return self.task.generate(latents.to(self.task.fixed_latents)).cpu()


load = GenerativePredictor.load
