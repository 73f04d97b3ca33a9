"""Feature extractors for metrics of generated images: pooled pixels, random convolutions, any frozen network."""

from itertools import pairwise
from typing import cast

import torch
from torch import Generator, Tensor, nn
from torch.nn.utils import skip_init

from lightning_coordconv.core.full_precision import in_full_precision


class PooledPixels(nn.Module):
    """Features without a network: the image, averaged over the cells of a grid.

    Args:
        size: cells along an axis.
    """

    def __init__(self, size: int = 4) -> None:
        super().__init__()
        self.size = size

    def forward(self, image: Tensor) -> Tensor:
        """Map images (B, C, H, W) to features (B, C * size^2)."""
        return nn.functional.adaptive_avg_pool2d(image, self.size).flatten(1)


class RandomFeatures(nn.Module):
    """Features of an untrained convolutional network, for FID, precision and recall without a download.

    Naeem et al. (2020) propose features of a random VGG16 for images unlike ImageNet's; this is a small network of that
    idea. Strided 3x3 convolutions with leaky ReLU halve the maps, and the features are the mean and the standard
    deviation of each channel. Such an "FID" cannot be compared with published ones, only with others of equal width
    and seed.

    Args:
        width: channels of the first map; the three others have 2, 4 and 8 times as many.
        seed: fixes the weights.
    """

    def __init__(self, width: int = 8, seed: int = 0) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([3, width, 2 * width, 4 * width, 8 * width]):
            conv = skip_init(nn.Conv2d, inputs, outputs, 3, stride=2, padding=1, bias=False)
            layers += [conv, nn.LeakyReLU(0.2)]
        super().__init__()
        self.layers = nn.Sequential(*layers)
        generator = Generator().manual_seed(seed)
        for layer in layers[::2]:
            nn.init.kaiming_normal_(cast(nn.Conv2d, layer).weight, 0.2, generator=generator)

    def forward(self, image: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to features (B, 16 * width)."""
        maps: Tensor = self.layers(image).flatten(2)
        return torch.cat([maps.mean(2), maps.std(2, correction=0)], dim=1)


class FrozenFeatures(nn.Module):
    """A feature network in evaluation mode, without gradients, whatever the mode of the task around it.

    It computes in float32 at least, also under autocast: distances of rounded features would tie.

    Args:
        network: maps images in [-1, 1], (B, C, H, W), to features (B, F).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """Map images to features."""
        with torch.autocast(image.device.type, enabled=False):
            features: Tensor = in_full_precision(self.network.eval()(in_full_precision(image)))
        return features
