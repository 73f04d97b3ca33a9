"""The coordinates' part of a convolution: computed once for a whole batch, then added to the plain convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_coordconv.layers.coords import check_samples, coordinate_dtype, encoded_coordinates

if TYPE_CHECKING:
    from lightning_coordconv.layers.conv import CoordConvNd

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def coordinate_response(
    layer: CoordConvNd, sizes: Sequence[int], output_padding: Sequence[int] | None = None
) -> Tensor:
    """Convolve the coordinates of a map with a layer's coordinate weights.

    This is computed in float32 at least, autocast or not: bfloat16 cannot tell neighbouring coordinates apart.

    Args:
        layer: The layer whose coordinate weights, geometry and encoding to use.
        sizes: Number of cells of the input along each axis.
        output_padding: For transposed layers, instead of the layer's own.

    Returns:
        A tensor of shape ``(F, out_channels, *output_sizes)``, where F is 1 or the batch size.
    """
    weight = layer.coord_weight
    weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
    coords = encoded_coordinates(sizes, layer.with_r, layer.encoding, weight.device, coordinate_dtype(weight.dtype))
    coords = coords.to(weight.dtype)
    n = len(sizes)
    device_type = coords.device.type
    if torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type):
        with torch.autocast(device_type, enabled=False):
            return _convolve(layer, coords, weight, n, output_padding)
    return _convolve(layer, coords, weight, n, output_padding)


def _convolve(
    layer: CoordConvNd, coords: Tensor, weight: Tensor, n: int, output_padding: Sequence[int] | None
) -> Tensor:
    if layer.transposed:
        padding = layer.output_padding if output_padding is None else output_padding
        # (torch's transposed constructors refuse padding as a string)
        args = (layer.stride, layer.padding, padding, 1, layer.dilation)
        return _CONV_TRANSPOSE[n](coords, weight, None, *args)  # type: ignore[arg-type]
    if layer.padding_mode != "zeros":
        coords = F.pad(coords, layer._reversed_padding_repeated_twice, mode=layer.padding_mode)
        return _CONV[n](coords, weight, None, layer.stride, 0, layer.dilation)
    return _CONV[n](coords, weight, None, layer.stride, layer.padding, layer.dilation)


def add_response(
    out: Tensor, layer: CoordConvNd, sizes: Sequence[int], output_padding: Sequence[int] | None = None
) -> Tensor:
    """Add the coordinates' part to the output of the plain convolution.

    Args:
        out: ``(B, out_channels, *output_sizes)`` or, unbatched, ``(out_channels, *output_sizes)``: what the plain
            convolution made of a map of the given sizes.
        layer: The layer whose coordinate weights, geometry and encoding to use.
        sizes: Number of cells of the input along each axis.
        output_padding: For transposed layers, instead of the layer's own.

    Returns:
        The sum, with the shape, dtype and memory format of ``out``.
    """
    response = coordinate_response(layer, sizes, output_padding).to(out.dtype)
    batched = out.dim() == response.dim()
    check_samples(response, out.shape[0] if batched else 1)
    return out + (response if batched else response[0])
