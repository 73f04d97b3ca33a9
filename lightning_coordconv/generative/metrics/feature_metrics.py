"""Metrics of generated images by their features: Fréchet distance, and improved precision and recall."""

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.image.fid import FrechetInceptionDistance

from lightning_coordconv.core.checked import CheckedArguments
from lightning_coordconv.core.full_precision import in_full_precision


class _Given(nn.Module):
    """Returns precomputed features; torchmetrics reads their length from ``num_features``."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


class FrechetDistance(CheckedArguments, FrechetInceptionDistance):
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
        super().update(in_full_precision(target_features), real=True)  # torchmetrics rounds the distance to their dtype
        super().update(in_full_precision(pred_features), real=False)

    def compute(self) -> Tensor:
        """Return the distance, a scalar."""
        few = min(self.real_features_num_samples, self.fake_features_num_samples) < 2
        if few or self.fake_features_sum.isnan().any():  # of which LAPACK prints an error
            return torch.tensor(torch.nan, device=self.device)
        return super().compute()


class PrecisionRecall(CheckedArguments, Metric):
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
