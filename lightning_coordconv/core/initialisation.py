"""Functions that initialise weights as TensorFlow does (He normal, Glorot uniform), for the paper's networks."""

import math

from torch import Tensor, nn

TRUNCATED_STD = 0.87962566103423978
"""Standard deviation of a unit normal distribution that is cut at -2 and 2."""
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)


def he_normal_(net: nn.Module) -> None:
    """Draw the weights of convolutions and dense layers as TensorFlow's ``he_normal`` does, in place; zero the biases.

    A normal distribution of variance 2 / fan_in, cut at two standard deviations, as in the reference implementation.
    The coordinates of a CoordConv count as inputs. Transposed convolutions have fan_in = out_channels x kernel size, as
    in TensorFlow.

    Args:
        net: a network; layers of other kinds stay as they are.
    """
    for layer in net.modules():
        if isinstance(layer, LAYERS):
            kernels = _kernels(layer)
            counted = kernels[:1] if getattr(layer, "transposed", False) else kernels
            std = math.sqrt(2 / sum(kernel[0].numel() for kernel in counted)) / TRUNCATED_STD
            for kernel in kernels:
                nn.init.trunc_normal_(kernel, std=std, a=-2 * std, b=2 * std)
            _zero_bias(layer)


def glorot_uniform_(net: nn.Module) -> None:
    """Draw the weights of convolutions and dense layers as TensorFlow does by default, in place; zero the biases.

    U(-b, b) with b = sqrt(6 / (fan_in + fan_out)), which the reference implementation uses where it names no other.
    The coordinates of a CoordConv count as inputs.

    Args:
        net: a network; layers of other kinds stay as they are.
    """
    for layer in net.modules():
        if isinstance(layer, LAYERS):
            kernels = _kernels(layer)
            axis = 0 if getattr(layer, "transposed", False) else 1
            channels = sum(kernel.shape[axis] for kernel in kernels) + kernels[0].shape[1 - axis]
            bound = math.sqrt(6 / (channels * kernels[0][0, 0].numel()))
            for kernel in kernels:
                nn.init.uniform_(kernel, -bound, bound)
            _zero_bias(layer)


def _kernels(layer: nn.Module) -> list[Tensor]:
    """Return the weight of a layer and, if it has any, its coordinate weights."""
    return [kernel for name, kernel in layer.named_parameters(recurse=False) if name.endswith("weight")]


def _zero_bias(layer: nn.Module) -> None:
    if isinstance(layer.bias, Tensor):
        nn.init.zeros_(layer.bias)
