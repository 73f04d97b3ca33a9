"""The response to plain coordinates, without their grid: a product along each axis instead of a convolution.

A coordinate varies along one axis only, and padding acts on each axis by itself. So what a tap ``(u, v)`` of the kernel
sees at the output cell ``(p, q)`` is a product ``a[u, p] * b[v, q]``, and the convolution is a chain of small matrix
products with tables of ``a`` and ``b``. Where nothing is padded it is simpler still: a linear function, convolved, is a
linear function of the output cell. The tables depend on sizes and geometry only, and are kept from call to call.
"""

import functools
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_coordconv.layers.coords import coordinate_axes, coordinate_grid


class Geometry(NamedTuple):
    """All that the response to plain coordinates depends on, besides the weights; a key for what is kept.

    Attributes:
        sizes: Number of cells of the input along each axis.
        kernel_size: As in the torch class, like stride, dilation and padding_mode.
        stride: See kernel_size.
        dilation: See kernel_size.
        padding: Cells before and after, of the last axis first, as :func:`torch.nn.functional.pad` takes them; for
            transposed layers one number an axis.
        padding_mode: See kernel_size.
        output_padding: Of transposed layers; None in the others.
        device: Where the response is needed.
        dtype: In which dtype; float32 or wider.
    """

    sizes: tuple[int, ...]
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[int, ...]
    padding_mode: str
    output_padding: tuple[int, ...] | None
    device: torch.device
    dtype: torch.dtype


def separable_response(weight: Tensor, geometry: Geometry, bias: Tensor | None = None) -> Tensor:
    """Convolve the default coordinates of a map with coordinate weights; differentiable in weights and bias.

    Args:
        weight: ``(out_channels, n, *kernel_size)`` for n axes, of the geometry's device and dtype.
        geometry: Sizes, strides and so on.
        bias: To add, ``(out_channels,)``.

    Returns:
        A tensor of shape ``(1, out_channels, *output_sizes)``.
    """
    n, channels = len(geometry.sizes), weight.shape[0]
    if geometry.output_padding is None and not any(geometry.padding):
        start, slopes, sizes = _linear_tables(geometry)
        linear = torch.mm(weight.reshape(channels, -1), start)
        response = torch.mm(linear, slopes) if bias is None else torch.addmm(bias[:, None], linear, slopes)
        return response.view(1, channels, *sizes)
    *others, last = _tap_tables(geometry)
    # The next axis to reduce is in front, and its output goes to the end: no product needs its operands copied.
    partial = weight.movedim(0, -1)
    for table in others:
        partial = torch.bmm(partial.reshape(n, table.shape[1], -1).mT, table)
    response = torch.mm(partial.reshape(n * last.shape[1], -1).mT, last.flatten(0, 1))
    response = response.view(1, channels, *(table.shape[2] for table in others), last.shape[2])
    return response if bias is None else response + bias.view(-1, *[1] * n)


@functools.lru_cache(maxsize=256)
def _tap_tables(geometry: Geometry) -> list[Tensor]:
    """Return for each axis what each tap sees of each coordinate at each output cell, ``(n, kernel, output)``.

    A coordinate of another axis is constant along this one: its taps see 1, and what the padding makes of it.
    """
    # On the CPU, so that no reduced precision for convolutions rounds the coordinates, and outside of inference mode,
    # so that training can use them.
    with torch.inference_mode(False), torch.no_grad():
        n = len(geometry.sizes)
        axes = coordinate_axes(geometry.sizes, device="cpu", dtype=geometry.dtype.to_real())
        tables = []
        for k, axis in enumerate(axes):
            signals = torch.ones(n, 1, len(axis), device="cpu", dtype=axis.dtype)
            signals[k, 0] = axis
            taps = torch.eye(geometry.kernel_size[k], device="cpu", dtype=axis.dtype)
            stride, dilation = geometry.stride[k], geometry.dilation[k]
            if geometry.output_padding is not None:
                extra = geometry.output_padding[k]
                table = F.conv_transpose1d(
                    signals, taps[None], None, stride, geometry.padding[k], extra, dilation=dilation
                )
            else:
                before = 2 * (n - 1 - k)
                mode = "constant" if geometry.padding_mode == "zeros" else geometry.padding_mode
                signals = F.pad(signals, geometry.padding[before : before + 2], mode=mode)
                table = F.conv1d(signals, taps[:, None], None, stride, dilation=dilation)
            tables.append(table.to(geometry.device, geometry.dtype))
        return tables


@functools.lru_cache(maxsize=256)
def _linear_tables(geometry: Geometry) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Return the response as a linear function of the output cell, for layers that don't pad.

    Returns:
        What each tap contributes to the value at the first cell and to the slopes, ``(n * prod(kernel_size), 1 + n)``;
        what these contribute to each cell, ``(1 + n, prod(output_sizes))``; and the output sizes.
    """
    with torch.inference_mode(False), torch.no_grad():
        own = [table[k] for k, table in enumerate(_tap_tables(geometry))]
        n, taps = len(own), math.prod(geometry.kernel_size)
        first = coordinate_grid([table[:, 0] for table in own]).view(-1, 1)
        steps = coordinate_grid([table[0] - table[0, 0] for table in own]).view(n, -1)
        start = torch.cat((first, torch.eye(n).to(first).repeat_interleave(taps, dim=0)), dim=1)
        slopes = torch.cat((torch.ones_like(steps[:1]), steps))
        return start, slopes, tuple(table.shape[1] for table in own)
