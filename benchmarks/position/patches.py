"""Position benchmark's denoising task, trained on patches of digits, tested on whole images; function that makes data.

Source: Wang et al., "Patch Diffusion" (2023, arXiv 2304.12526).
"""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from benchmarks.position.data import Tensors
from benchmarks.position.task import ScoredTask
from lightning_coordconv.core.data import Split
from lightning_coordconv.core.digits import SPLITS, DigitSplit, mnist_digits
from lightning_coordconv.core.task import Batch
from lightning_coordconv.layers import coordinate_frame

PATCH = 16
"""Height and width of the patches that training sees, of images of 32 x 32 pixels."""
LEVELS = 6
"""Noise levels at which an image is evaluated."""


def centred_digits(split: Split, generator: Generator) -> Tensors:
    """Return images (1, 32, 32) of digits in [-1, 1], as MNIST centres them; train, val and test share no digit."""
    glyphs, _ = mnist_digits()
    chosen: DigitSplit = "test" if split == "predict" else split
    own = torch.randperm(len(glyphs), generator=Generator().manual_seed(0))[SPLITS[chosen]]
    own = own if split == "train" else own[:150]
    return {"image": F.pad(glyphs[own, None].float() / 127.5 - 1, (2, 2, 2, 2), value=-1.0)}


class DenoisingTask(ScoredTask):
    """Predicts the noise of an image.

    In training each image shows one random patch at a random noise level; in evaluation the whole image is shown at
    ``LEVELS`` levels, as sampling would. Coordinates are those of the whole image. The image, multiplied by
    (1 - s^2)^0.5, is mixed with Gaussian noise of standard deviation s, the level; s goes from 0.05 to 0.98. The
    network does not receive s.
    """

    unit = "squared error of the noise"

    def score(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the squared error of the noise, and it for each image."""
        image = batch["image"]
        count, side = len(image), image.shape[-1]
        if self.training:
            origin = torch.randint(side - PATCH + 1, (count, 2), device=image.device)
            cells = torch.arange(PATCH, device=image.device)
            i, j = origin[:, 0, None] + cells, origin[:, 1, None] + cells
            shown = image[torch.arange(count)[:, None, None], 0, i[:, :, None], j[:, None, :]][:, None]
            level = 0.05 + 0.93 * torch.rand(count, device=image.device)
        else:
            origin = torch.zeros(count * LEVELS, 2, dtype=torch.long, device=image.device)
            shown = image.repeat_interleave(LEVELS, 0)
            level = torch.linspace(0.05, 0.98, LEVELS, device=image.device).repeat(count)
        s = level[:, None, None, None]
        noise = torch.randn_like(shown)
        noisy = (1 - s.square()).sqrt() * shown + s * noise
        with coordinate_frame(origin, (side, side), crop=shown.shape[-2:]):
            found = self.net(noisy)
        errors = (found - noise).square().mean((1, 2, 3))
        return errors.mean(), errors if self.training else errors.view(count, LEVELS).mean(1)
