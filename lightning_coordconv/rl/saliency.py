"""Functions that check and compute which pixels an agent's action depends on (saliency), and draw them in red."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

Image = NDArray[np.uint8]


def saliency(policy: Any, observation: Image, action: NDArray[Any]) -> Image:
    """Return how much the probability of an action depends on each pixel (Simonyan et al., 2014).

    It is the gradient of the log-probability: the largest magnitude over channels, scaled such that the strongest
    hundredth of the pixels is at 255.

    Args:
        policy: an actor-critic policy of Stable-Baselines3 for images.
        observation: (1, C, H, W).
        action: (1, ...).

    Returns:
        (H, W), uint8 in [0, 255].
    """
    with torch.enable_grad():
        pixels = torch.as_tensor(observation, device=policy.device).float().requires_grad_()
        _, log_prob, _ = policy.evaluate_actions(pixels, torch.as_tensor(action, device=policy.device))
        (gradient,) = torch.autograd.grad(log_prob.sum(), pixels)
    strength = gradient[0].abs().amax(0)
    top = strength.flatten().quantile(0.99).clamp(min=torch.finfo(strength.dtype).tiny)
    heat: Image = (strength / top).clamp(max=1).mul(255).byte().cpu().numpy()
    return heat


def check_images(policy: Any) -> None:
    """Check that the observations of a policy are images, which alone have a saliency.

    Raises:
        ValueError: if they are not.
    """
    if len(policy.observation_space.shape or ()) != 3:
        raise ValueError(f"saliency needs images (C, H, W), but the observations are {policy.observation_space}")


def overlay(frame: Image, heat: Image) -> Image:
    """Return a frame (H, W, 3) in grey, with red where the heat (h, w) is high."""
    scaled = F.interpolate(torch.from_numpy(heat)[None, None].float(), frame.shape[:2], mode="bilinear")[0, 0]
    mixed = frame.mean(2, keepdims=True).repeat(3, axis=2) * 0.7
    mixed[..., 0] = np.maximum(mixed[..., 0], scaled.numpy())
    return mixed.astype(np.uint8)
