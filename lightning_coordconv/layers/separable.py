"""The response to plain coordinates, without their grid: a product along each axis instead of a convolution.

A coordinate varies along one axis only, and padding acts on each axis by itself. So what a tap ``(u, v)`` of the kernel
sees at the output cell ``(p, q)`` is a product ``a[u, p] * b[v, q]``, and the convolution is a chain of small matrix
products with tables of ``a`` and ``b``. Where nothing is padded it is simpler still: a linear function, convolved, is a
linear function of the output cell. And for a small map the products of the tables are small enough to be kept, and one
matrix product is all. The tables depend on sizes and geometry only, and are kept from call to call.
"""

import functools
import math
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_coordconv.layers.coords import coordinate_axes, coordinate_grid

SMALL = 1 << 14
"""Up to so many numbers a table of all taps at all cells is kept: then the number of operations is what takes time."""


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
        channels_last: In which memory format, as far as it costs nothing.
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
    channels_last: bool = False


def separable_response(weight: Tensor, geometry: Geometry, bias: Tensor | None = None) -> Tensor:
    """Convolve the default coordinates of a map with coordinate weights; differentiable in weights and bias.

    Args:
        weight: ``(out_channels, n, *kernel_size)`` for n axes; for transposed layers the first two the other way round.
        geometry: Sizes, strides and so on.
        bias: ``(out_channels,)``; it adds nothing, but has the gradient of one that does.

    Returns:
        A tensor of shape ``(1, out_channels, *output_sizes)``.
    """
    return cast(Tensor, _SeparableResponse.apply(weight, bias, geometry))


class _SeparableResponse(torch.autograd.Function):
    """One node in the graph, where there would be one for each product and each view."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
        ctx.geometry = geometry
        return respond(weight, geometry)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        weight, bias, _ = ctx.needs_input_grad
        return (
            respond_backward(grad, ctx.geometry) if weight else None,
            grad.flatten(2).sum((0, 2)) if bias else None,
            None,
        )


def respond(weight: Tensor, geometry: Geometry) -> Tensor:
    """Return the response to plain coordinates; see :func:`separable_response`, which is differentiable."""
    weight = weight.to(geometry.dtype)
    if geometry.output_padding is not None:
        weight = weight.transpose(0, 1)
    n, channels = len(geometry.sizes), weight.shape[0]
    tables, matrices, sizes = _factors(geometry)
    if matrices:
        response = weight.reshape(channels, -1)
        for matrix in matrices[:-1]:
            response = torch.mm(response, matrix)
        factors = response, matrices[-1]
        response = torch.mm(factors[1].mT, factors[0].mT).mT if geometry.channels_last else torch.mm(*factors)
        return response.view(1, channels, *sizes)
    # The next axis to reduce is in front, and its output goes to the end: no product needs its operands copied.
    *others, last = tables
    partial = weight.movedim(0, -1)
    for table in others:
        partial = torch.bmm(partial.reshape(n, table.shape[1], -1).mT, table)
    return torch.mm(partial.reshape(n * last.shape[1], -1).mT, last.flatten(0, 1)).view(1, channels, *sizes)


def respond_backward(grad: Tensor, geometry: Geometry) -> Tensor:
    """Return the gradient of the weights: the same products, transposed, in reverse order.

    Args:
        grad: That of the response, ``(1, out_channels, *output_sizes)``, in the geometry's dtype.
        geometry: As the response was computed with.

    Returns:
        A tensor with the shape of the weights.
    """
    n, channels = len(geometry.sizes), grad.shape[1]
    tables, matrices, _ = _factors(geometry)
    if matrices:
        partial = grad.reshape(channels, -1).mT
        for matrix in reversed(matrices):
            partial = torch.mm(matrix, partial)
    else:
        *others, last = tables
        partial = torch.mm(last.flatten(0, 1), grad.reshape(-1, last.shape[2]).mT)
        for table in reversed(others):
            partial = torch.bmm(partial.reshape(n, -1, table.shape[2]), table.mT).mT
    weight = partial.reshape(n, *geometry.kernel_size, channels).movedim(-1, 0)
    return weight if geometry.output_padding is None else weight.transpose(0, 1)


class _Factors(NamedTuple):
    """What :func:`_tap_tables` and :func:`_matrices` return, and the sizes of the output."""

    tables: list[Tensor]
    matrices: tuple[Tensor, ...]
    sizes: tuple[int, ...]


@functools.lru_cache(maxsize=256)
def _factors(geometry: Geometry) -> _Factors:
    # Outside of inference mode, so that training can use them.
    with torch.inference_mode(False), torch.no_grad():
        tables = _tap_tables(geometry)
        return _Factors(tables, _matrices(tables, geometry), tuple(table.shape[2] for table in tables))


def _tap_tables(geometry: Geometry) -> list[Tensor]:
    """Return for each axis what each tap sees of each coordinate at each output cell, ``(n, kernel, output)``.

    A coordinate of another axis is constant along this one: its taps see 1, and what the padding makes of it.
    """
    # On the CPU, so that no reduced precision for convolutions rounds the coordinates.
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
            table = F.conv_transpose1d(signals, taps[None], None, stride, geometry.padding[k], extra, dilation=dilation)
        else:
            before = 2 * (n - 1 - k)
            mode = "constant" if geometry.padding_mode == "zeros" else geometry.padding_mode
            signals = F.pad(signals, geometry.padding[before : before + 2], mode=mode)
            table = F.conv1d(signals, taps[:, None], None, stride, dilation=dilation)
        tables.append(table.to(geometry.device, geometry.dtype))
    return tables


def _matrices(tables: list[Tensor], geometry: Geometry) -> tuple[Tensor, ...]:
    """Return the matrices whose product maps a row of weights to a row of output cells, where that is the quickest.

    For a small map that is one matrix: what each tap of each coordinate sees at each cell. For a layer that does not
    pad there are two: what each tap contributes to the value at the first cell and to the slopes,
    ``(n * taps, 1 + n)``, and what these contribute to each cell, ``(1 + n, cells)``. Else there are none.
    """
    n, taps = len(tables), math.prod(geometry.kernel_size)
    if n * taps * math.prod(table.shape[2] for table in tables) <= SMALL:
        whole, *others = tables
        for table in others:
            whole = (whole[:, :, None, :, None] * table[:, None, :, None, :]).flatten(1, 2).flatten(2)
        return (whole.flatten(0, 1),)
    if geometry.output_padding is not None or any(geometry.padding):
        return ()
    own = [table[k] for k, table in enumerate(tables)]
    first = coordinate_grid([table[:, 0] for table in own]).view(-1, 1)
    steps = coordinate_grid([table[0] - table[0, 0] for table in own]).view(n, -1)
    start = torch.cat((first, torch.eye(n).to(first).repeat_interleave(taps, dim=0)), dim=1)
    return start, torch.cat((torch.ones_like(steps[:1]), steps))
