"""A 1x1 convolution is a matrix product, and a product can start from its bias at every position: no second pass."""

import torch
from torch import Tensor
from torch.nn.modules.conv import _ConvNd

from lightning_coordconv.layers.response import is_ordinary

# Up to here the time goes to passes over memory, and the product was 1.05 to 4 times as fast as a convolution and an
# addition (AVX-512, one and two threads). With more channels a convolution multiplies faster.
MAX_CHANNELS = 64


def is_small_product(layer: _ConvNd, x: Tensor) -> bool:
    """Return whether to compute a layer as a matrix product: 1x1, few channels, on a CPU."""
    return (
        layer.in_channels <= MAX_CHANNELS
        and x.is_contiguous()
        and set(layer.kernel_size + layer.stride) == {1}
        and not (layer.transposed or any(layer._reversed_padding_repeated_twice) or layer.groups != 1)
        and x.dim() == len(layer.kernel_size) + 2
        and x.shape[1] == layer.in_channels
        and x.device.type == "cpu"
        and x.dtype == layer.weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and is_ordinary(x)
    )


def pointwise_product(x: Tensor, weight: Tensor, position_bias: Tensor) -> Tensor:
    """Return what a 1x1 convolution makes of x, plus a bias at each position.

    Args:
        x: ``(B, in_channels, *sizes)``.
        weight: ``(out_channels, in_channels, 1, ...)``.
        position_bias: ``(1, out_channels, *sizes)``.

    Returns:
        A tensor of shape ``(B, out_channels, *sizes)``.
    """
    matrix = weight.flatten(1).expand(x.shape[0], -1, -1)
    product = torch.baddbmm(position_bias.flatten(2), matrix, x.flatten(2))
    return product.view(*product.shape[:2], *x.shape[2:])
