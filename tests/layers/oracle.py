"""Reference implementation for tests: CoordConv in float64 by concatenation and convolution, without the package."""

import itertools
import math

import torch
import torch.nn.functional as F


def line(size):
    """The coordinates along one axis: from -1 to 1, or 0 where there is only one cell."""
    return torch.zeros(1, dtype=torch.float64) if size == 1 else torch.linspace(-1, 1, size, dtype=torch.float64)


def coordinates(sizes, with_r=False):
    """``(n [+ 1], *sizes)``, filled cell by cell."""
    lines = [line(size) for size in sizes]
    out = torch.empty(len(sizes) + with_r, *sizes, dtype=torch.float64)
    for cell in itertools.product(*map(range, sizes)):
        position = [axis[i].item() for axis, i in zip(lines, cell, strict=True)]
        if with_r:
            position.append(math.sqrt(sum(p * p for p in position)))
        out[(slice(None), *cell)] = torch.tensor(position, dtype=torch.float64)
    return out


def _dense(weight, groups, transposed):
    """A grouped convolution's weight as that of an ordinary one, with zeros between the groups."""
    if groups == 1:
        return weight
    blocks = weight.chunk(groups)
    dense = weight.new_zeros(
        (weight.shape[0], weight.shape[1] * groups, *weight.shape[2:]),
    )
    row, column = 0, 0
    for block in blocks:
        dense[row : row + block.shape[0], column : column + block.shape[1]] = block
        row, column = row + block.shape[0], column + block.shape[1]
    return dense


def concat_conv(x, weight, coord_weight, bias, layer, coords=None, output_padding=None):
    """What ``layer`` should return for a batched x, given its parameters as tensors; all float64.

    Only the geometry is read from the layer.
    """
    n = x.dim() - 2
    if coords is None:
        coords = coordinates(x.shape[2:], with_r=coord_weight.shape[0 if layer.transposed else 1] > n)
    x = torch.cat([x, coords.expand(x.shape[0], *coords.shape[-n - 1 :])], dim=1)
    weight = torch.cat([_dense(weight, layer.groups, layer.transposed), coord_weight], dim=0 if layer.transposed else 1)
    if layer.transposed:
        conv = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[n - 1]
        padding = layer.output_padding if output_padding is None else output_padding
        return conv(x, weight, bias, layer.stride, layer.padding, padding, 1, layer.dilation)
    pads = []
    for k, d, i in zip(reversed(layer.kernel_size), reversed(layer.dilation), reversed(range(n)), strict=True):
        if layer.padding == "same":
            total = d * (k - 1)
            pads += [total // 2, total - total // 2]
        else:
            pads += [0, 0] if layer.padding == "valid" else [layer.padding[i]] * 2
    x = F.pad(x, pads, mode="constant" if layer.padding_mode == "zeros" else layer.padding_mode)
    conv = (F.conv1d, F.conv2d, F.conv3d)[n - 1]
    return conv(x, weight, bias, layer.stride, 0, layer.dilation)


def expected(layer, x, **kwargs):
    """What ``layer`` should return for x, batched or not, in float64 and detached."""
    n = len(layer.kernel_size)
    batched = x if x.dim() == n + 2 else x[None]
    params = [None if p is None else p.detach().double() for p in (layer.weight, layer.coord_weight, layer.bias)]
    out = concat_conv(batched.detach().double(), *params, layer, **kwargs)
    return out if x.dim() == n + 2 else out[0]
