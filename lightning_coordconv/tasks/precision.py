"""Mixed precision for policies of Stable-Baselines3, which know nothing of it."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from torch import Tensor

from lightning_coordconv.extras import extra

with extra("rl", "agents"):
    from stable_baselines3.common.policies import ActorCriticPolicy
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor


def mix_precision(policy: ActorCriticPolicy, plugin: Precision) -> None:
    """Have the features extractors of a policy compute in the trainer's mixed precision, whoever calls the policy.

    They tell their features in float32, and the heads are left in it: probabilities and values are small differences,
    and what SB3 collects it stores in NumPy's arrays. Nothing changes where the trainer does not mix.

    Args:
        policy: its extractors are changed in place; names and types of the weights stay.
        plugin: the trainer's.
    """
    if isinstance(plugin, MixedPrecision):
        for module in policy.modules():
            if isinstance(module, BaseFeaturesExtractor):
                forward = type(module).forward.__get__(module)
                module.forward = functools.partial(_mixed, plugin, forward)


def _mixed(plugin: Precision, forward: Callable[..., Tensor], *observations: Any) -> Tensor:
    with plugin.forward_context():
        return forward(*observations).float()


@contextlib.contextmanager
def heads_in_full(plugin: Precision, device: torch.device) -> Iterator[None]:
    """Have all but the extractors compute in float32, and the extractors' weights be converted once for all calls."""
    with plugin.forward_context(), torch.autocast(device.type, enabled=False):
        yield
