"""Class of a layer's geometry; functions that make and apply matrices (taps) mapping coordinate weights to a bias.

The coordinate bias of a layer is linear in its coordinate weights: ``coord_weight.view(channels, -1) @ taps``. Column p
of ``taps`` is the patch of the coordinate grid under output cell p. A coordinate varies along one axis only, so
``taps`` is a product of one table an axis. Each table is factored: away from the border it is linear in the position,
so its rank is about 2 plus the number of border cells (5 for a 7x7 kernel of stride 2). Then one product takes the
weights to the factors, and one an axis expands these to the map. This replaces a convolution of the grid, which costs
as much as two more input channels for one sample: of batches of 1 and 4 images with 3 or 4 channels that is a sixth to
a half.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from lightning_coordconv.layers.coords import coordinate_axes

MAX_WHOLE_ELEMENTS = 1 << 13
"""Largest product of all axes' factors, in elements, that is kept as one matrix: faster than one product an axis.

An 8x8 kernel with stride 4 on a map of 84 x 84 leaves 4 factors, and 1,600 elements. Forward and backward of 32
channels took 89 microseconds, with one product an axis 127 (one thread).
"""


class Geometry(NamedTuple):
    """All that the taps of plain coordinates depend on.

    Attributes:
        sizes: Number of cells of the input along each axis.
        output_sizes: Number of cells of the output along each axis.
        kernel_size: As in the torch class, like stride and dilation.
        stride: See kernel_size.
        dilation: See kernel_size.
        padding: As in the torch class; where ``padding_mode`` is not zeros, as ``torch.nn.functional.pad`` takes it.
        padding_mode: As in the torch class.
        same_pad: Whether TensorFlow's "SAME" padding comes on top.
        transposed: Whether the layer is a transposed convolution.
    """

    sizes: tuple[int, ...]
    output_sizes: tuple[int, ...]
    kernel_size: tuple[int, ...]
    stride: int | tuple[int, ...]
    dilation: int | tuple[int, ...]
    padding: int | str | tuple[int, ...]
    padding_mode: str
    same_pad: bool
    transposed: bool

    def per_axis(self, value: int | tuple[int, ...]) -> tuple[int, ...]:
        """Return one number for each axis."""
        return (value,) * len(self.sizes) if isinstance(value, int) else value

    def pads(self) -> list[tuple[int, int]]:
        """Return how many cells are added before and after the map along each axis."""
        n = len(self.sizes)
        dilation, stride = self.per_axis(self.dilation), self.per_axis(self.stride)
        spans = [d * (k - 1) for d, k in zip(dilation, self.kernel_size, strict=True)]
        if self.padding_mode != "zeros":
            flat = cast(tuple[int, ...], self.padding)
            return [(flat[2 * k], flat[2 * k + 1]) for k in reversed(range(n))]
        if self.padding == "same":
            return [(span // 2, span - span // 2) for span in spans]
        pads = self.per_axis(0 if isinstance(self.padding, str) else self.padding)
        added = [0] * n
        if self.same_pad:
            axes = zip(self.sizes, stride, spans, strict=True)
            # (size - 1) // s: ONNX rounds a division of negative numbers, as of -(-size // s), to zero
            added = [max((size - 1) // s * s + span + 1 - size, 0) for size, s, span in axes]
        return [(pad + more // 2, pad + more - more // 2) for pad, more in zip(pads, added, strict=True)]


def make_taps(geometry: Geometry, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """Compute the taps of a geometry, in float64 on the CPU.

    Args:
        geometry: Of the layer and its map.
        device: Of the taps.
        dtype: Of the taps; float32 or wider.

    Returns:
        A matrix ``(n * kernel cells, r)``, where r is the product of all r_k, and for each axis, from the last to the
        first, ``(r_k, output_size)``. Small factors of all axes are one matrix ``(r, output cells)``.
    """
    factored = [_factor(table) for table in tap_tables(geometry, torch.device("cpu"), torch.float64)]
    factors = [factor[None] for _, factor in factored]
    whole = math.prod(factor.numel() for factor in factors) <= MAX_WHOLE_ELEMENTS
    taps = [[small for small, _ in factored], *([factors] if whole else ([factor] for factor in reversed(factors)))]
    return [_product(tables).to(device, dtype, non_blocking=True) for tables in taps]


def expand_taps(weight: Tensor, taps: Sequence[Tensor], output_sizes: Sequence[int]) -> Tensor:
    """Return the coordinate bias of coordinate weights; differentiable.

    Args:
        weight: ``(channels, n, *kernel_size)``, of the dtype of the taps.
        taps: As :func:`make_taps` returns them.
        output_sizes: Number of cells of the output along each axis.

    Returns:
        A tensor of shape ``(1, channels, *output_sizes)``.
    """
    matrix, axis, *axes = taps
    values = torch.mm(weight.flatten(1), matrix)
    if axes:
        values = values.view(-1, axis.shape[0])
    values, cells = torch.mm(values, axis), axis.shape[1]
    for axis in axes:
        values = torch.matmul(axis.t(), values.view(-1, axis.shape[0], cells))
        cells *= axis.shape[1]
    return values.view(1, -1, *output_sizes)


def _product(tables: Sequence[Tensor]) -> Tensor:
    """Return the Kronecker product ``(n * rows, columns)`` of tables ``(n, rows_k, columns_k)``, for each of n."""
    whole, *others = tables
    for table in others:
        whole = (whole[:, :, None, :, None] * table[:, None, :, None, :]).flatten(1, 2).flatten(2)
    return whole.flatten(0, 1)


def _factor(table: Tensor) -> tuple[Tensor, Tensor]:
    """Write ``(n, kernel, output)`` as ``(n, kernel, r)`` times ``(r, output)``, with the smallest r."""
    left, values, right = torch.linalg.svd(table.flatten(0, 1), full_matrices=False)
    rank = max(1, int((values > 1e-12 * values[0] * len(values)).sum()))
    return (left * values)[:, :rank].view(*table.shape[:2], rank), right[:rank].contiguous()


def tap_tables(geometry: Geometry, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """Return for each axis what each tap sees of each coordinate at each output cell.

    A coordinate of another axis is constant along this one: its taps see 1, and what the padding makes of it. This is
    plain arithmetic of ranges, which compilers fuse, for sizes that may be symbols.

    Args:
        geometry: Of the layer and its map.
        device: Where to compute.
        dtype: Of the tables.

    Returns:
        A tensor ``(n, kernel, output)`` an axis.
    """
    n, pads, tables = len(geometry.sizes), geometry.pads(), []
    strides, dilations = geometry.per_axis(geometry.stride), geometry.per_axis(geometry.dilation)
    for k, axis in enumerate(coordinate_axes(geometry.sizes, device=device, dtype=dtype)):
        # The last cell is a tensor: a comparison of sizes themselves would be fixed by the exporter.
        last = torch.arange(geometry.sizes[k], device=device)[-1:]
        tap = torch.arange(geometry.kernel_size[k], device=device)[:, None] * dilations[k]
        cell = torch.arange(geometry.output_sizes[k], device=device)
        if geometry.transposed:
            position = cell + pads[k][0] - tap
            reached = position % strides[k] == 0
            position = position.div(strides[k], rounding_mode="floor")
        else:
            position = cell * strides[k] - pads[k][0] + tap
            reached = torch.ones_like(position, dtype=torch.bool)
            if geometry.padding_mode == "circular":
                position = position % (last + 1)
            elif geometry.padding_mode == "reflect":
                position = last - (last - position.abs()).abs()
        nearest = position.clamp(min=0).minimum(last)
        if geometry.padding_mode == "zeros":
            reached = reached & (position == nearest)
        # Compilers store a stack; what comes after it they compute again for each coordinate weight.
        ones = reached.to(dtype)
        tables.append(torch.stack([axis[nearest] * ones if k == j else ones for j in range(n)]))
    return tables


def expand_tables(weight: Tensor, tables: Sequence[Tensor]) -> Tensor:
    """Return the coordinate bias of coordinate weights ``(channels, n, *kernel_size)``, an axis after the other.

    Args:
        weight: Of the dtype of the tables.
        tables: As :func:`tap_tables` returns them.

    Returns:
        A tensor of shape ``(1, channels, *output_sizes)``.
    """
    n, values = len(tables), weight
    # Compiled, a sum along the last axis too joins the addition to the output: one image of 4 x 84 x 84 with an 8x8
    # kernel and stride 4 took 1.13 times as long as the plain convolution, with a product 1.32 times (inference, two
    # threads). A 1x1 kernel has too few terms for that, and elsewhere all the terms of the sum would be stored.
    compiled = torch.compiler.is_compiling() and not torch.compiler.is_exporting()
    sums = n if compiled and weight.shape[-1] > 1 else n - 1
    for k, table in enumerate(tables[:sums]):
        # A sum, not a product of matrices: the compiler computes it without copies of the weights in another order.
        spread = table.view(n, *(1,) * k, *table.shape[1:], *(1,) * (n - 1 - k))
        values = (values.unsqueeze(3 + k) * spread).sum((1, 2 + k) if k == n - 1 else 2 + k)
    if sums == n:
        return values[None]
    return torch.matmul(values.movedim(1, -2).flatten(-2), tables[-1].flatten(0, 1))[None]
