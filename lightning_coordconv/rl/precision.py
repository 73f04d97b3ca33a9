"""Mixed precision for policies of Stable-Baselines3, which know nothing of it."""

import torch
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from lightning_coordconv.core.extras import extra

with extra("rl", "agents"):
    from stable_baselines3.common.policies import BaseModel
    from stable_baselines3.common.preprocessing import is_image_space, preprocess_obs
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
    from stable_baselines3.common.type_aliases import PyTorchObs


class MixedFeatures(BaseModel):
    """The part of a policy that extracts features, in the trainer's mixed precision.

    Features are told in float32, and the heads are left in it: probabilities and values are small differences, and what
    SB3 collects it stores in NumPy's arrays. Images go from uint8 to the lower precision without a copy in float32
    between, and to the same numbers: all of 0 to 255 are exact in bfloat16 and float16, and quotients are rounded once.
    """

    plugin: MixedPrecision

    def extract_features(self, obs: PyTorchObs, features_extractor: BaseFeaturesExtractor) -> Tensor:
        """Return the features (B, features_dim) in float32, of observations as the environments tell them."""
        context = self.plugin.autocast_context_manager()
        with torch.autocast(context.device, context.fast_dtype):  # Lightning's own does not keep converted weights
            seen: PyTorchObs
            if isinstance(obs, Tensor) and self.normalize_images and is_image_space(self.observation_space):
                seen = obs.to(context.fast_dtype).div_(255).contiguous(memory_format=torch.channels_last)
            else:
                seen = preprocess_obs(obs, self.observation_space, self.normalize_images)
            return features_extractor(seen).float()


def mix_precision(policy: BaseModel, plugin: Precision) -> None:
    """Have a policy extract features in the trainer's mixed precision, or again in full where the trainer does not mix.

    Args:
        policy: its class is changed in place; names and types of the weights stay.
        plugin: the trainer's. A processor that has AVX2 alone is warned of bfloat16.
    """
    if isinstance(policy, MixedFeatures):
        policy.__class__ = type(policy).__bases__[0]
    if isinstance(plugin, MixedPrecision):
        if (plugin.device, plugin.precision, torch.backends.cpu.get_cpu_capability()) == ("cpu", "bf16-mixed", "AVX2"):
            rank_zero_warn(
                "this processor has no instructions for bfloat16, and emulates it: agents train several times faster "
                "with --trainer.precision 32-true than with bf16-mixed"
            )
        # of the bases the last comes before BaseModel alone, so that all of SB3's own methods find it there
        kind = type(policy)
        policy.__class__ = type(f"Mixed{kind.__name__}", (kind, MixedFeatures), {"plugin": plugin})


def heads_in_full(device: torch.device) -> torch.autocast:
    """Have all but the extractors compute in float32, and the extractors' weights be converted once for all calls."""
    return torch.autocast(device.type, enabled=False)
