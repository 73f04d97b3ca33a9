"""Class and functions that run Stable-Baselines3's policies in mixed precision, heads in float32, without GPU waits."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor
from torch.distributions import Distribution

from lightning_coordconv.core.extras import extra

with extra("rl", "agents"):
    from stable_baselines3.common.policies import BaseModel
    from stable_baselines3.common.preprocessing import is_image_space, preprocess_obs
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
    from stable_baselines3.common.type_aliases import PyTorchObs


PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
"""The trainer's precisions in which agents are trained."""
PLAYING = threading.RLock()
"""Held while a policy plays: that sets what threads share, the generators and whether torch checks arguments."""


class MixedFeatures(BaseModel):
    """The part of a policy that extracts features, in the trainer's mixed precision.

    Features are returned in float32, in which the heads compute: probabilities and values are small differences, and
    SB3 stores them in NumPy arrays. Images are converted from uint8 to the lower precision without a float32 copy, to
    the same numbers: 0 to 255 are exact in bfloat16 and float16, and the quotients are rounded once.
    """

    plugin: MixedPrecision

    def extract_features(self, obs: PyTorchObs, features_extractor: BaseFeaturesExtractor) -> Tensor:
        """Return the features (B, features_dim) in float32 of observations as the environments return them."""
        context = self.plugin.autocast_context_manager()
        with torch.autocast(context.device, context.fast_dtype):  # Lightning's context does not cache converted weights
            seen: PyTorchObs
            if isinstance(obs, Tensor) and self.normalize_images and is_image_space(self.observation_space):
                seen = obs.to(context.fast_dtype).div_(255).contiguous(memory_format=torch.channels_last)
            else:
                seen = preprocess_obs(obs, self.observation_space, self.normalize_images)
            return features_extractor(seen).float()


def check_precision(plugin: Precision) -> None:
    """Check that the trainer's precision is one in which a policy can be built and trained.

    Raises:
        ValueError: for weights of half or double precision: SB3 gives its policies observations in single precision.
    """
    if plugin.precision not in PRECISIONS:
        raise ValueError(
            f"trainer.precision must be {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]} for an agent, got "
            f"{plugin.precision!r}: Stable-Baselines3 computes in single precision"
        )


def mix_precision(policy: BaseModel, plugin: Precision) -> None:
    """Make a policy extract features in the trainer's precision, mixed or full.

    Args:
        policy: its class is changed in place; names and types of the weights stay.
        plugin: the trainer's. A warning is given for bfloat16 on a processor with AVX2 only.
    """
    if isinstance(policy, MixedFeatures):
        policy.__class__ = type(policy).__bases__[0]
    if isinstance(plugin, MixedPrecision):
        if (plugin.device, plugin.precision, torch.backends.cpu.get_cpu_capability()) == ("cpu", "bf16-mixed", "AVX2"):
            rank_zero_warn(
                "this processor has no instructions for bfloat16 and emulates it: agents train several times faster "
                "with --trainer.precision 32-true than with bf16-mixed"
            )
        # as the last base it precedes only BaseModel in the method resolution order, where SB3's methods find it
        kind = type(policy)
        policy.__class__ = type(f"Mixed{kind.__name__}", (kind, MixedFeatures), {"plugin": plugin})


@contextmanager
def policy_calls(device: torch.device) -> Iterator[None]:
    """Surround calls of a policy: its heads compute in float32, and nothing in it waits for the device.

    The weights of the extractors are converted once for all calls. torch's distributions do not check their arguments,
    for which the host would read a result from the device with each of them: NaN is found in the loss.

    One thread at a time is inside: the others would draw from its generators.
    """
    with PLAYING:
        Distribution.set_default_validate_args(False)
        try:
            with torch.autocast(device.type, enabled=False):
                yield
        finally:
            Distribution.set_default_validate_args(__debug__)  # torch's default
