"""Metric classes of generated images (Fréchet distance, precision and recall), and the feature networks they use."""

from itertools import pairwise
from typing import Any, cast

import torch
from torch import Generator, Tensor, nn
from torch.nn.utils import skip_init
from torchmetrics import Metric
from torchmetrics.image.fid import FrechetInceptionDistance


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

    Args:
        network: maps images in [-1, 1], (B, C, H, W), to features (B, F).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """Map images to features."""
        features: Tensor = self.network.eval()(image)
        return features


class _Given(nn.Module):
    """Returns precomputed features; torchmetrics reads their length from ``num_features``."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


class FrechetDistance(FrechetInceptionDistance):
    """Fréchet distance of the features' normal distributions (Heusel et al., 2017), by torchmetrics; lower is better.

    With Inception's features it is the FID. NaN for fewer than two images of either kind, and for features of NaN.

    Args:
        num_features: length of a feature vector.
        kwargs: passed to :class:`torchmetrics.Metric`.
    """

    def __init__(self, num_features: int, **kwargs: Any) -> None:
        super().__init__(feature=_Given(num_features), **kwargs)

    def update(self, pred_features: Tensor, target_features: Tensor) -> None:  # type: ignore[override]
        """Add features (B, F) of generated and of real images."""
        super().update(target_features, real=True)
        super().update(pred_features, real=False)

    def compute(self) -> Tensor:
        """Return the distance, a scalar."""
        few = min(self.real_features_num_samples, self.fake_features_num_samples) < 2
        if few or self.fake_features_sum.isnan().any():  # of which LAPACK prints an error
            return torch.tensor(torch.nan, device=self.device)
        return super().compute()


class PrecisionRecall(Metric):
    """Improved precision and recall (Kynkäänniemi et al., 2019); higher is better.

    ``precision``: the share of generated images that lie, in feature space, at most as far from some real image as
    that image's k-th nearest real neighbour; ``recall``: the same with real and generated images exchanged. NaN for
    fewer than two images. Under DDP the features of all ranks are gathered.

    Args:
        k: rank of the neighbour; the source's default is 3.
        kwargs: passed to :class:`torchmetrics.Metric`.

    Raises:
        ValueError: if k is not positive.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    generated: list[Tensor]
    real: list[Tensor]

    def __init__(self, k: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        self.k = k
        for state in ("generated", "real"):
            self.add_state(state, [], dist_reduce_fx="cat")

    def update(self, pred_features: Tensor, target_features: Tensor) -> None:
        """Add features (B, F) of generated and of real images."""
        self.generated.append(pred_features)
        self.real.append(target_features)

    def compute(self) -> dict[str, Tensor]:
        """Return both shares."""
        generated, real = (_gathered(state) for state in (self.generated, self.real))
        return {
            "precision": share_in_manifold(generated, real, self.k),
            "recall": share_in_manifold(real, generated, self.k),
        }


def share_in_manifold(points: Tensor, reference: Tensor, k: int) -> Tensor:
    """Return the share of points in the k-nearest-neighbour manifold of reference points.

    Args:
        points: (N, F).
        reference: (M, F); each covers the ball that reaches to its k-th nearest neighbour among the others (the
            farthest, if there are fewer). With M = 1 there is no neighbour, and the result is NaN.
        k: rank of the neighbour, from 1.

    Example:
        >>> share_in_manifold(torch.tensor([[0.5], [9.0]]), torch.tensor([[0.0], [1.0]]), k=1)
        tensor(0.5000)
    """
    if len(reference) < 2:
        return torch.tensor(torch.nan, device=points.device)
    # cdist takes differences of squared norms: in float32 they hide distances that are small beside the features' mean
    points, reference = points.double(), reference.double()
    nearest = min(k, len(reference) - 1) + 1  # a point is its own nearest neighbour
    reach = torch.cdist(reference, reference).kthvalue(nearest, dim=1).values
    return (torch.cdist(points, reference) <= reach).any(1).float().mean()


def _gathered(state: list[Tensor] | Tensor) -> Tensor:
    return state if isinstance(state, Tensor) else torch.cat(state) if state else torch.empty(0, 1)
