"""Functions that compute a layer's coordinate bias (the convolution of its coordinates) and add it to the output.

There are two routes. Eager: a convolution of the coordinate grid if map and kernel are small, else matrix products with
taps (:mod:`taps`); the grid and the taps are kept, and the addition is in place. Traced or transformed (compiled,
exported, ``torch.func``, tensor subclasses): the same taps as arithmetic of ranges, and an addition, which compilers
fuse and every transform can differentiate. Encodings, the radius and frames always convolve the grid. The eager route
differs with and without gradients only in the backward pass that autograd records for its operations. A
``torch.autograd.Function`` that does all of it took 75 microseconds longer in a training step of a tiny map, of 275 for
the plain convolution.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_coordconv.layers._torch import autocast_is_active, padding_of_other_modes, transforms_are_active
from lightning_coordconv.layers.cache import CACHE
from lightning_coordconv.layers.coords import check_samples, coordinate_dtype, encoded_coordinates, memory_format
from lightning_coordconv.layers.frames import active_frame
from lightning_coordconv.layers.taps import Geometry, expand_tables, expand_taps, make_taps, tap_tables

if TYPE_CHECKING:
    from lightning_coordconv.layers.base import CoordConvNd

Sizes: TypeAlias = Sequence[int]
_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_ORDINARY = (nn.Parameter, Tensor)
_WIDENED = {torch.float16: torch.float32, torch.bfloat16: torch.float32, torch.complex32: torch.complex64}

_NOTHING = contextlib.nullcontext()

MAX_GRID_PRODUCTS = 1 << 21
"""Largest number of map cells times coordinate weights for which the grid is convolved.

That takes fewer operations than products with taps: a training step of one image of 4 x 32 x 32 with a 3x3 kernel took
1.53 times as long as the plain convolution, with taps 1.85 times (one thread). Taps repay beyond: inference of one
image of 3 x 224 x 224 with a 7x7 kernel and stride 2 took 1.24 times as long, with the grid 1.80 times.
"""

MAX_PLAIN_SUM_ELEMENTS = 1 << 16
"""Largest output with channels last, in elements, whose gradient autograd sums over the batch on a CPU."""


def convolve_with_coordinates(layer: CoordConvNd, input: Tensor, output_padding: Sizes | None = None) -> Tensor:
    """Return the layer's convolution of an input plus its coordinate bias.

    Args:
        layer: The layer whose weights, geometry and encoding to use.
        input: ``(B, in_channels, *sizes)`` or ``(in_channels, *sizes)``.
        output_padding: For transposed layers.

    Returns:
        What the torch class returns, plus the coordinate bias, in the same dtype and memory format.

    Raises:
        ValueError: See :func:`check_bias`. Not checked where the layer is compiled, traced or transformed.
    """
    n = len(layer.kernel_size)
    weight, bias, batched = layer.coord_weight, layer.bias, input.dim() == n + 2
    eager = runs_eagerly(input, weight)
    if eager and layer.ran_in_frame:
        layer.seen_frame()  # which refuses a second run without the frame of the first
    # CUDA adds a bias in another pass over the output, which the coordinate bias makes already. A CPU convolves with a
    # bias for free, and rounds once.
    rides = eager and input.is_cuda and layer.separates_bias
    out = layer.convolve(input, None if rides else bias, output_padding)
    added = coordinate_bias(layer, weight, input.shape[-n:], out.shape[-n:], output_padding, eager)
    if not eager:
        added = added.to(out.dtype)
        check_samples(added, input.shape[0] if batched else 1)
        return out + (added if batched else added[0])
    check_bias(layer, added, out.shape[-n - 1 :])
    if rides and bias is not None:
        added = added + bias.view(-1, *[1] * n)
    contiguous = out.is_contiguous()
    if added.dtype != out.dtype or not contiguous:
        added = added.to(out.dtype, memory_format=memory_format(out))
    if added.size(0) != 1:
        check_samples(added, input.shape[0] if batched else 1)
    elif not contiguous and batched and out.is_cpu and out.numel() > MAX_PLAIN_SUM_ELEMENTS and added.requires_grad:
        added = _ExpandOverBatch.apply(added, input.shape[0])
    # In place: nothing else holds the convolution's output, and its gradient does not need it.
    return out.add_(added if batched else added[0])


def check_bias(layer: CoordConvNd, added: Tensor, wanted: Sizes) -> None:
    """Raise an error if a coordinate bias has another shape than the output, to which addition might broadcast it.

    Args:
        layer: The layer whose coordinate bias it is.
        added: Its coordinate bias, ``(F, *wanted)``.
        wanted: Channels and sizes of the output of one sample.

    Raises:
        ValueError: If it has. Code that prunes channels or kernels may have replaced one of the two weights only.
    """
    if added.shape[1:] != wanted:
        raise ValueError(
            f"the coordinate weights {tuple(layer.coord_weight.shape)} of {type(layer).__name__} give a coordinate "
            f"bias of {tuple(added.shape[1:])}, but its output is {tuple(wanted)}: what is cut out of weight must be "
            "cut out of coord_weight too"
        )


def coordinate_bias(
    layer: CoordConvNd, weight: Tensor, sizes: Sizes, output_sizes: Sizes, output_padding: Sizes | None, eager: bool
) -> Tensor:
    """Return the coordinate bias of a layer; differentiable.

    Compilers fuse the arithmetic that makes the taps, and one small product costs less than a convolution of the grid:
    compiled for one image of 3 x 64 x 64, a 7x7 kernel with stride 2 and 64 outputs, inference took 1.42 times as long
    as the plain convolution, with a convolution of the grid 1.86 times, as a concatenation 1.45 times (one thread).

    Args:
        layer: The layer whose geometry and encoding to use.
        weight: Its coordinate weights.
        sizes: Number of cells of the input along each axis.
        output_sizes: Number of cells of the output along each axis.
        output_padding: For transposed layers.
        eager: Whether grid and taps may be kept; else taps are made by operators that can be traced and transformed.

    Returns:
        A tensor of shape ``(F, out_channels, *output_sizes)``, float32 or wider, where F is 1 or the batch size.
    """
    plain = layer.encoding is None and not layer.with_r and active_frame() is None
    if not plain or (eager and weight.numel() * math.prod(sizes) <= MAX_GRID_PRODUCTS):
        return convolve_coordinates(layer, weight, sizes, output_padding, keep=plain)
    if weight.dtype in _WIDENED:
        weight = weight.to(_WIDENED[weight.dtype])
    geometry = geometry_of(layer, sizes, output_sizes)
    device, dtype = weight.device, weight.dtype
    taps = CACHE.get((geometry, device, dtype), lambda: make_taps(geometry, device, dtype)) if eager else None
    if layer.transposed:
        weight = weight.transpose(0, 1)
    with without_autocast(weight):
        if taps is not None:
            return expand_taps(weight, taps, output_sizes)
        tables = tap_tables(geometry, device, coordinate_dtype(dtype))  # torch has no complex ranges
        return expand_tables(weight, [table.to(dtype) for table in tables])


class _ExpandOverBatch(torch.autograd.Function):
    """Expands a map ``(1, C, *sizes)`` over the batch, with a faster sum over the batch in its backward pass.

    On a CPU, autograd's sum of maps with channels last jumps from sample to sample at each step: of 16 maps it took ten
    times as long as that of the same numbers in rows. A product with ones is as fast as that, and faster in bfloat16.
    """

    @staticmethod
    def forward(ctx: Any, added: Tensor, batch: int) -> Tensor:
        ctx.batch = batch
        return added.expand(batch, *added.shape[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        rows = grad.movedim(1, -1)
        if not rows.is_contiguous():
            return grad.sum(0, keepdim=True), None
        with without_autocast(grad):
            total = torch.mm(grad.new_ones(1, grad.shape[0]), rows.reshape(grad.shape[0], -1))
        # Products with taps need contiguous maps. To make them after autograd has widened bfloat16 takes two float32
        # maps at once: 9 % more memory in a training step of 4 x 3 x 224 x 224, 7x7 and stride 2; this way 0.5 %.
        return total.view(1, *rows.shape[1:]).movedim(-1, 1).contiguous(), None

    @staticmethod
    def jvp(ctx: Any, added: Tensor, batch: None) -> Tensor:
        return added.expand(ctx.batch, *added.shape[1:])


def convolve_coordinates(
    layer: CoordConvNd, weight: Tensor, sizes: Sizes, output_padding: Sizes | None, keep: bool = False
) -> Tensor:
    """Convolve the coordinate grid of a map, whatever its encoding or frame, with a layer's coordinate weights.

    This is computed in float32 at least, autocast or not: bfloat16 cannot tell neighbouring coordinates apart.

    Args:
        layer: The layer whose geometry and encoding to use.
        weight: Its coordinate weights.
        sizes: Number of cells of the input along each axis.
        output_padding: For transposed layers.
        keep: Whether to keep the grid for other calls; only that of plain coordinates in eager mode.

    Returns:
        A tensor of shape ``(F, out_channels, *output_sizes)``, where F is 1 or the batch size.
    """
    n = len(layer.kernel_size)
    if weight.dtype in _WIDENED:
        weight = weight.to(_WIDENED[weight.dtype])
    with without_autocast(weight):
        device, dtype = weight.device, weight.dtype

        def make() -> list[Tensor]:
            real = coordinate_dtype(dtype)
            frame = layer.seen_frame()
            return [encoded_coordinates(sizes, layer.with_r, layer.encoding, frame, device, real).to(dtype)]

        kept = CACHE.get((sizes, device, dtype), make) if keep else None
        (coords,) = make() if kept is None else kept
        if layer.transposed:
            args = (layer.stride, layer.padding, output_padding, 1, layer.dilation)
            return _CONV_TRANSPOSE[n](coords, weight, None, *args)  # type: ignore[arg-type]  # tuples are taken too
        padding: Any = layer.padding
        if layer.padding_mode != "zeros" or layer.same_pad:
            pairs = [cells for pair in reversed(geometry_of(layer, sizes, ()).pads()) for cells in pair]
            coords = F.pad(coords, pairs, mode="constant" if layer.padding_mode == "zeros" else layer.padding_mode)
            padding = 0
        return _CONV[n](coords, weight, None, layer.stride, padding, layer.dilation)


def geometry_of(layer: CoordConvNd, sizes: Sizes, output_sizes: Sizes) -> Geometry:
    """Return the geometry of a layer on a map of given sizes, as its attributes are now."""
    padding = layer.padding if layer.padding_mode == "zeros" else padding_of_other_modes(layer)
    axes: list[Any] = [layer.kernel_size, layer.stride, layer.dilation, padding]
    if list in map(type, axes):
        axes = [tuple(value) if isinstance(value, list) else value for value in axes]
    kernel_size, stride, dilation, padding = axes
    options = (layer.padding_mode, layer.same_pad, layer.transposed)
    return Geometry(tuple(sizes), tuple(output_sizes), kernel_size, stride, dilation, padding, *options)


def runs_eagerly(input: Tensor, weight: Tensor) -> bool:
    """Return whether this is eager computing on ordinary tensors, which may go in place and use what was kept.

    Compilers and exporters do better with the composition, ``torch.func`` allows nothing else, and tensors of other
    kinds (fake, traced, distributed) must not be mixed with tensors kept from earlier.
    """
    return (
        not torch.compiler.is_compiling()
        and type(input) in _ORDINARY
        and type(weight) in _ORDINARY
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        and not transforms_are_active()
    )


def without_autocast(tensor: Tensor) -> contextlib.AbstractContextManager[object]:
    """Return a context in which autocast is off for the device of a tensor."""
    # (torch knows no autocast for meta tensors, and torch 2.11 cannot trace torch.amp.is_autocast_available)
    if not autocast_is_active() or tensor.is_meta or not torch.is_autocast_enabled(tensor.device.type):
        return _NOTHING
    return torch.autocast(tensor.device.type, enabled=False)
