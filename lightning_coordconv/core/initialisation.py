"""The paper's initialisation."""

import math

from torch import Tensor, nn
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
        if isinstance(layer, _ConvNd | nn.Linear):
            kernels = _kernels(layer)
            counted = kernels[:1] if getattr(layer, "transposed", False) else kernels
            std = math.sqrt(2 / sum(kernel[0].numel() for kernel in counted)) / TRUNCATED_STD
            for kernel in kernels:
                nn.init.trunc_normal_(kernel, std=std, a=-2 * std, b=2 * std)
            _zero_bias(layer)


def glorot_uniform_(net: nn.Module) -> None:
    """Draw weights of convolutions and dense layers as TensorFlow does by default, in place, with zero biases.

    U(-b, b) with b = sqrt(6 / (fan_in + fan_out)); the reference implementation's, where it names nothing else. The
    coordinates of a CoordConv count as inputs.

    Args:
        net: a network; layers of other kinds stay as they are.
    """
    for layer in net.modules():
        if isinstance(layer, _ConvNd | nn.Linear):
            kernels = _kernels(layer)
            axis = 0 if getattr(layer, "transposed", False) else 1
            channels = sum(kernel.shape[axis] for kernel in kernels) + kernels[0].shape[1 - axis]
            bound = math.sqrt(6 / (channels * kernels[0][0, 0].numel()))
            for kernel in kernels:
                nn.init.uniform_(kernel, -bound, bound)
            _zero_bias(layer)


def _kernels(layer: nn.Module) -> list[Tensor]:
    return [kernel for name, kernel in layer.named_parameters(recurse=False) if name.endswith("weight")]


def _zero_bias(layer: _ConvNd | nn.Linear) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
