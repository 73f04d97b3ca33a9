"""Loss functions of GANs: adversarial losses, the R1 gradient penalty and feature matching."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class AdversarialLoss(NamedTuple):
    """The losses of both networks, each the mean over a batch."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    """Maps the logits of real and of generated images, (B,) each, to a scalar."""
    generator: Callable[[Tensor], Tensor]
    """Maps the logits of generated images (B,) to a scalar."""


LOSSES = {
    # Goodfellow et al. (2014), the paper's: cross-entropy, and the generator maximises the odds of being taken as real
    "non-saturating": AdversarialLoss(
        lambda real, fake: F.softplus(-real).mean() + F.softplus(fake).mean(), lambda fake: F.softplus(-fake).mean()
    ),
    # Lim and Ye (2017), Miyato et al. (2018)
    "hinge": AdversarialLoss(
        lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(), lambda fake: -fake.mean()
    ),
    # Mao et al. (2017) with a = 0, b = c = 1
    "least-squares": AdversarialLoss(
        lambda real, fake: ((real - 1).square().mean() + fake.square().mean()) / 2,
        lambda fake: (fake - 1).square().mean() / 2,
    ),
}


def gradient_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """Return the mean squared norm of the logits' gradient at real images (R1; Mescheder et al., 2018).

    Args:
        logits: (B,), the discriminator's.
        images: the real images that the logits were computed from, (B, ...), which require gradients.

    Example:
        >>> images = torch.ones(2, 1, 1, 3, requires_grad=True)
        >>> gradient_penalty((2 * images).sum((1, 2, 3)), images)
        tensor(12.)
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()


def feature_distance(real: Tensor, fake: Tensor) -> Tensor:
    """Return the squared distance of the mean features (B, F) (feature matching; Salimans et al., 2016)."""
    return (real.mean(0) - fake.mean(0)).square().sum()
