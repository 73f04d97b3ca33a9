"""Functions for estimates on held-out images: which classes occur in enough images, and bootstrap over images."""

import torch
from torch import Tensor

FOLDS = 5
RESAMPLES = 1000


def frequent(classes: Tensor, images: Tensor) -> Tensor:
    """Return which observations (N,) have a class (N,) that at least ``FOLDS`` images (N,) have.

    Where one of fewer images is held out, too little tells of its class.
    """
    index = classes.unique(return_inverse=True)[1]
    return torch.stack([index, images]).unique(dim=1)[0].bincount()[index] >= FOLDS


def resampled(sums: Tensor, generator: torch.Generator, resamples: int = RESAMPLES) -> Tensor:
    """Return the sums over images of columns (C, images) for images drawn with repetition, (C, resamples)."""
    count = sums.shape[1]
    drawn = torch.randint(count, (resamples, count), generator=generator)
    return sums[:, drawn].sum(2)
