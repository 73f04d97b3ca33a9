"""The paper's initialisation."""

import math

from torch import nn
from torch.nn.modules.conv import _ConvNd

TRUNCATED_STD = 0.87962566103423978  # standard deviation of a unit normal cut at two of its own


def he_normal_(net: nn.Module) -> None:
    """Draw weights of convolutions and dense layers as TensorFlow's ``he_normal`` does, in place, with zero biases.

    A truncated normal of variance 2 / fan_in, cut at two standard deviations; the reference implementation's. The
    coordinates of a CoordConv count as inputs. Transposed convolutions have fan_in = out_channels x kernel, as there.

    Args:
        net: a network; layers of other kinds stay as they are.
    """
    for layer in net.modules():
        if not isinstance(layer, _ConvNd | nn.Linear):
            continue
        kernels = [kernel for name, kernel in layer.named_parameters(recurse=False) if name.endswith("weight")]
        counted = kernels[:1] if getattr(layer, "transposed", False) else kernels
        std = math.sqrt(2 / sum(kernel[0].numel() for kernel in counted)) / TRUNCATED_STD
        for kernel in kernels:
            nn.init.trunc_normal_(kernel, std=std, a=-2 * std, b=2 * std)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
