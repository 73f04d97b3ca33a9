"""Distances between generated and real images in the space of a feature network."""

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.image.fid import FrechetInceptionDistance


class PooledPixels(nn.Module):
    """Features that need no trained network: the image, averaged over the cells of a grid.

    Args:
        size: cells along an axis.
    """

    def __init__(self, size: int = 4) -> None:
        super().__init__()
        self.size = size

    def forward(self, image: Tensor) -> Tensor:
        """Map images (B, C, H, W) to features (B, C * size^2)."""
        return nn.functional.adaptive_avg_pool2d(image, self.size).flatten(1)


class FrozenFeatures(nn.Module):
    """A feature network as it is: without gradients, in evaluation mode.

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
    """Passes on features that are computed already, and says how many there are."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


class FrechetDistance(FrechetInceptionDistance):
    """Fréchet distance of the features' normal distributions (Heusel et al., 2017), by torchmetrics; lower is better.

    With Inception's features it is the FID. At least two images of either kind are needed.

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


class PrecisionRecall(Metric):
    """Improved precision and recall (Kynkäänniemi et al., 2019); higher is better.

    ``precision``: the share of generated images that lie within a real one's distance from its k-th nearest real
    neighbour, in feature space; ``recall``: the other way round. Under DDP the features of all ranks are gathered.

    Args:
        k: which neighbour; the source's default is 3.
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
        return {"precision": within(generated, real, self.k), "recall": within(real, generated, self.k)}


def within(points: Tensor, reference: Tensor, k: int) -> Tensor:
    """Return the share of points within the k-nearest-neighbour manifold of others.

    Args:
        points: (N, F).
        reference: (M, F); each covers the ball that reaches to its k-th nearest neighbour among the others (the
            farthest, if there are fewer).
        k: which neighbour.

    Example:
        >>> within(torch.tensor([[0.5], [9.0]]), torch.tensor([[0.0], [1.0]]), k=1)
        tensor(0.5000)
    """
    nearest = min(k, len(reference) - 1) + 1  # a point is its own nearest neighbour
    reach = torch.cdist(reference, reference).kthvalue(nearest, dim=1).values
    return (torch.cdist(points, reference) <= reach).any(1).float().mean()


def _gathered(state: list[Tensor] | Tensor) -> Tensor:
    return state if isinstance(state, Tensor) else torch.cat(state)
