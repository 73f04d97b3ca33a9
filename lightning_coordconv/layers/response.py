"""The coordinates' part of a convolution: computed once for a whole batch, then added to the plain convolution."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

from lightning_coordconv.layers.coords import check_samples, coordinate_dtype, encoded_coordinates, memory_format
from lightning_coordconv.layers.frames import active_frame
from lightning_coordconv.layers.separable import Geometry, respond, respond_backward, separable_response

if TYPE_CHECKING:
    from lightning_coordconv.layers.base import CoordConvNd

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}

CACHED = 1 << 22
"""So many numbers may be in a cache still."""

# The last response of each layer, after its key and the weights that it was computed from. Apart from the layer, so
# that it is in no copy and no checkpoint.
_KEPT: WeakKeyDictionary[CoordConvNd, tuple[object, Tensor, Tensor]] = WeakKeyDictionary()


def add_response(
    out: Tensor,
    layer: CoordConvNd,
    sizes: Sequence[int],
    output_padding: Sequence[int] | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """Add the coordinates' part to the output of the plain convolution, which is used up.

    Args:
        out: ``(B, out_channels, *output_sizes)`` or, unbatched, ``(out_channels, *output_sizes)``: what the plain
            convolution made of a map of the given sizes.
        layer: The layer whose coordinate weights, geometry and encoding to use.
        sizes: Number of cells of the input along each axis.
        output_padding: For transposed layers, instead of the layer's own.
        bias: The layer's bias, where ``out`` has it detached; see :func:`shares_bias_gradient`.

    Returns:
        The sum, with the shape, dtype and memory format of ``out``.
    """
    batched = out.dim() == len(sizes) + 2
    if not is_ordinary(out):
        response = coordinate_response(layer, sizes, output_padding, bias).to(out.dtype)
        check_samples(response, out.shape[0] if batched else 1)
        return out + (response if batched else response[0])
    # In place: nothing else holds the convolution's output, and its gradient does not need it.
    channels_last = memory_format(out) != torch.contiguous_format
    learns = torch.is_grad_enabled() and layer.coord_weight.requires_grad
    sums = learns and out.is_cpu and batched and out.shape[0] > 1
    if sums and sees_plain_coordinates(layer):
        geometry = _geometry(layer, sizes, output_padding, layer.coord_weight, channels_last)
        return cast(Tensor, _AddSeparableToBatch.apply(out, layer.coord_weight, bias, geometry))
    if learns:
        response = _like(coordinate_response(layer, sizes, output_padding, bias, channels_last), out)
    else:
        response = _kept_response(out, layer, sizes, output_padding)
    check_samples(response, out.shape[0] if batched else 1)
    if sums and response.shape[0] == 1:
        return cast(Tensor, _AddToBatch.apply(out, response))
    return out.add_(response if batched else response[0])


def position_bias(x: Tensor, layer: CoordConvNd, sizes: Sequence[int]) -> Tensor:
    """Return the coordinates' part and the layer's bias as one bias at each position.

    Args:
        x: The layer's input, ``(B, in_channels, *sizes)``.
        layer: The layer whose coordinate weights, geometry, encoding and bias to use.
        sizes: Number of cells of the input along each axis.

    Returns:
        A tensor of shape ``(F, out_channels, *output_sizes)``, where F is 1 or the batch size.
    """
    if torch.is_grad_enabled() and layer.coord_weight.requires_grad:
        response = coordinate_response(layer, sizes)
    else:
        response = _kept_response(x, layer, sizes, None)
    check_samples(response, x.shape[0])
    return response if layer.bias is None else response + layer.bias.view(-1, *[1] * len(sizes))


class _AddToBatch(torch.autograd.Function):
    """``out.add_(response)`` on the CPU, with a faster sum over the batch in its backward pass."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, response: Tensor) -> Tensor:
        ctx.mark_dirty(out)
        return out.add_(response)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        return grad, sum_over_batch(grad)


class _AddSeparableToBatch(torch.autograd.Function):
    """The same with the response itself: one node in the graph for all that plain coordinates need in training."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
        ctx.mark_dirty(out)
        ctx.geometry = geometry
        with _without_autocast("cpu"):
            return out.add_(_like(respond(weight, geometry), out))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        _, weight, bias, _ = ctx.needs_input_grad
        with _without_autocast("cpu"):
            total = sum_over_batch(grad).to(ctx.geometry.dtype)
            return (
                grad,
                respond_backward(total, ctx.geometry) if weight else None,
                total.flatten(2).sum((0, 2)) if bias else None,
                None,
            )


def sum_over_batch(maps: Tensor) -> Tensor:
    """Return the sum of maps ``(B, C, *sizes)`` over the batch, ``(1, C, *sizes)``, in the same memory format.

    ``sum(0)`` of maps with channels last jumps from sample to sample at each step: of 16 maps it took twenty times as
    long as that of the same numbers in rows. Beyond what a cache holds, a matrix product with ones is faster still.
    """
    last = maps.movedim(1, -1)
    dense = maps if maps.is_contiguous() else last
    if not dense.is_contiguous():
        return maps.sum(0, keepdim=True)
    rows = dense.flatten(1)
    total = rows.sum(0) if rows.numel() <= CACHED else torch.mm(maps.new_ones(1, maps.shape[0]), rows)
    total = total.view(1, *dense.shape[1:])
    return total if dense is maps else total.movedim(-1, 1)


def shares_bias_gradient(layer: CoordConvNd, x: Tensor) -> bool:
    """Return whether one pass over the output's gradient can serve the bias along with the coordinate weights.

    The coordinate weights need that gradient summed over the batch, and the bias needs the sum of just that. Then the
    convolution is given its bias detached, and :func:`add_response` the bias itself. Of one sample there is no sum.
    """
    if not torch.is_grad_enabled() or not is_ordinary(x) or x.shape[0] == 1:
        return False
    bias = layer.bias
    return bias is not None and bias.requires_grad and layer.coord_weight.requires_grad


def coordinate_response(
    layer: CoordConvNd,
    sizes: Sequence[int],
    output_padding: Sequence[int] | None = None,
    bias: Tensor | None = None,
    channels_last: bool = False,
) -> Tensor:
    """Convolve the coordinates of a map with a layer's coordinate weights.

    This is computed in float32 at least, autocast or not: bfloat16 cannot tell neighbouring coordinates apart.

    Args:
        layer: The layer whose coordinate weights, geometry and encoding to use.
        sizes: Number of cells of the input along each axis.
        output_padding: For transposed layers, instead of the layer's own.
        bias: A bias that adds nothing to the response, but is to have the gradient of one that does.
        channels_last: Whether that memory format would be welcome.

    Returns:
        A tensor of shape ``(F, out_channels, *output_sizes)``, where F is 1 or the batch size.
    """
    weight = layer.coord_weight
    plain = sees_plain_coordinates(layer)
    weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
    with _without_autocast(weight.device.type):
        if plain:
            geometry = _geometry(layer, sizes, output_padding, weight, channels_last)
            return separable_response(weight, geometry, bias)
        zero = None if bias is None else (bias - bias.detach()).to(weight.dtype)
        dtype = coordinate_dtype(weight.dtype)
        coords = encoded_coordinates(sizes, layer.with_r, layer.encoding, weight.device, dtype)
        return _convolve(layer, coords.to(weight.dtype), weight, zero, output_padding)


def sees_plain_coordinates(layer: CoordConvNd) -> bool:
    """Return whether a layer sees the coordinates of its own input, and nothing else, and runs eagerly."""
    return layer.encoding is None and not layer.with_r and active_frame() is None and is_ordinary(layer.coord_weight)


def is_ordinary(tensor: Tensor) -> bool:
    """Return whether this is eager computing on real values, which may go in place and be kept for the next call.

    Graphs that are compiled or exported do better with the composition, function transforms allow nothing else, and
    tensors of other kinds (fake, traced, distributed) must not be mixed with tensors kept from earlier.
    """
    return (
        (type(tensor) is Tensor or type(tensor) is nn.Parameter)
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        and not torch._C._are_functorch_transforms_active()  # what torch.autograd.Function.apply asks
        and forward_ad._current_level < 0  # else weights may have tangents, which nothing tells of them
    )


def _kept_response(
    out: Tensor, layer: CoordConvNd, sizes: Sequence[int], output_padding: Sequence[int] | None
) -> Tensor:
    """Return the response without gradient, in the dtype and memory format of ``out``, and keep it for the next call.

    Weights are compared by value: an in-place change through ``.data``, as target networks and moving averages make
    them, leaves no other mark. Only on the CPU, since elsewhere a comparison would wait for the device.
    """
    weight = layer.coord_weight
    if weight.device.type != "cpu" or layer.encoding is not None or active_frame() is not None:
        return _like(coordinate_response(layer, sizes, output_padding), out)
    key = (_geometry(layer, sizes, output_padding, weight), layer.with_r, out.dtype, memory_format(out))
    kept = _KEPT.get(layer)
    if kept is not None and kept[0] == key and torch.equal(kept[1], weight):
        return kept[2]
    with torch.inference_mode(False), torch.no_grad():
        response = _like(coordinate_response(layer, sizes, output_padding), out)
        _KEPT[layer] = (key, weight.detach().clone(), response)
    return response


def _like(response: Tensor, out: Tensor) -> Tensor:
    return response.to(out.dtype).contiguous(memory_format=memory_format(out))


def _without_autocast(device_type: str) -> contextlib.AbstractContextManager[object]:
    if torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return contextlib.nullcontext()


def _geometry(
    layer: CoordConvNd,
    sizes: Sequence[int],
    output_padding: Sequence[int] | None,
    like: Tensor,
    channels_last: bool = False,
) -> Geometry:
    """Return the key of what a layer adds to a map of these sizes, on the device of ``like``, in its dtype at least."""
    padding, extra = tuple(layer._reversed_padding_repeated_twice), None  # (torch has it as a list or a tuple)
    if layer.transposed:
        padding = tuple(map(int, layer.padding))
        extra = tuple(layer.output_padding if output_padding is None else output_padding)
    kernel = (layer.kernel_size, layer.stride, layer.dilation, padding, layer.padding_mode, extra)
    dtype = torch.promote_types(like.dtype, torch.float32)
    return Geometry(tuple(sizes), *kernel, like.device, dtype, channels_last)


def _convolve(
    layer: CoordConvNd, coords: Tensor, weight: Tensor, bias: Tensor | None, output_padding: Sequence[int] | None
) -> Tensor:
    n = len(layer.kernel_size)
    if layer.transposed:
        padding = layer.output_padding if output_padding is None else output_padding
        # (torch's transposed constructors refuse padding as a string)
        args = (layer.stride, layer.padding, padding, 1, layer.dilation)
        return _CONV_TRANSPOSE[n](coords, weight, bias, *args)  # type: ignore[arg-type]
    if layer.padding_mode != "zeros":
        coords = F.pad(coords, layer._reversed_padding_repeated_twice, mode=layer.padding_mode)
        return _CONV[n](coords, weight, bias, layer.stride, 0, layer.dilation)
    return _CONV[n](coords, weight, bias, layer.stride, layer.padding, layer.dilation)
