"""The paper's initialisation."""

import math

from torch import nn
from torch.nn.modules.conv import _ConvNd

TRUNCATED_STD = 0.87962566103423978  # standard deviation of a unit normal cut at two of its own


def he_normal_(net: nn.Module) -> None:
    """Draw convolution kernels as TensorFlow's ``he_normal`` does, in place, and set their biases to zero.

    A truncated normal of variance 2 / fan_in, cut at two standard deviations; the reference implementation's. The
    coordinates of a CoordConv count as inputs. Transposed convolutions have fan_in = out_channels x kernel, as there.

    Args:
        net: a network; layers other than convolutions stay as they are.
    """
    for layer in net.modules():
        if not isinstance(layer, _ConvNd):
            continue
        kernels = [kernel for name, kernel in layer.named_parameters(recurse=False) if name.endswith("weight")]
        inputs = [kernels[0].shape[1]] if layer.transposed else [kernel.shape[1] for kernel in kernels]
        std = math.sqrt(2 / (sum(inputs) * math.prod(layer.kernel_size))) / TRUNCATED_STD
        for kernel in kernels:
            nn.init.trunc_normal_(kernel, std=std, a=-2 * std, b=2 * std)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
