"""Computes the matrices that map the coordinate weights of a layer to its coordinate bias, and caches them.

The coordinate bias of a layer is linear in its coordinate weights: ``coord_weight.view(channels, -1) @ taps``. Column p
of ``taps`` is the patch of the coordinate grid under output cell p. A coordinate varies along one axis only, so
``taps`` is a product of one table an axis. For a small map the product is kept whole. For a large map each table is
factored: away from the border it is linear in the position, so its rank is about 2 plus the number of border cells (5
for a 7x7 kernel of stride 2). Then one product takes the weights to the factors, and one an axis expands these to the
map. This replaces a convolution of the grid, which costs as much as two more input channels for one sample: of batches
of 1 and 4 images with 3 or 4 channels that is a sixth to a half.
"""

import math
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from lightning_coordconv.layers._torch import without_dispatch_modes
from lightning_coordconv.layers.arguments import check_count
from lightning_coordconv.layers.coords import coordinate_axes

MAX_WHOLE_ELEMENTS = 1 << 13
"""Largest product, in elements, that is kept whole. Up to here one product is faster than a chain of them."""


class Geometry(NamedTuple):
    """All that the taps of plain coordinates depend on: a key for what is kept.

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
        device: Device of the taps.
        dtype: Dtype of the taps; float32 or wider.
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
    device: torch.device
    dtype: torch.dtype

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
            added = [max((-(-size // s) - 1) * s + span + 1 - size, 0) for size, s, span in axes]
        return [(pad + more // 2, pad + more - more // 2) for pad, more in zip(pads, added, strict=True)]


class Taps(NamedTuple):
    """The taps of one geometry: ``matrix`` times the Kronecker product of ``axes``, if there are any.

    Attributes:
        matrix: ``(n * taps, r)``, where r is the product of all r_k, or the number of output cells without ``axes``.
        axes: For each axis ``(r_k, output_size)``; or none.
        shape: Of the coordinate bias, with -1 for the channels.
    """

    matrix: Tensor
    axes: tuple[Tensor, ...]
    shape: tuple[int, ...]

    def num_bytes(self) -> int:
        """Return the memory of the matrices."""
        return self.matrix.nbytes + sum(axis.nbytes for axis in self.axes)

    def expand(self, weight: Tensor) -> Tensor:
        """Return the coordinate bias ``(1, channels, *output_sizes)`` of coordinate weights; differentiable.

        Args:
            weight: ``(channels, n, *kernel_size)``, of the dtype of the matrices.
        """
        values = torch.mm(weight.flatten(1), self.matrix)
        if not self.axes:
            return values.view(self.shape)
        rest = self.matrix.shape[1]
        for axis in self.axes[:-1]:
            rest //= axis.shape[0]
            values = torch.matmul(axis.t(), values.view(-1, axis.shape[0], rest))
        return torch.mm(values.view(-1, rest), self.axes[-1]).view(self.shape)


class TapsCache:
    """The taps of the last geometries, up to a number of bytes, for all layers of a process and all threads.

    Nothing in it depends on weights. Tensors of tracing modes are never kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.kept: dict[tuple[Any, ...], Taps] = {}
        self.lock = threading.Lock()

    def get(self, key: tuple[Any, ...]) -> Taps | None:
        """Return the taps of a geometry, given its fields, and keep them.

        Returns:
            The taps; None if they are not kept and a CUDA graph is being captured, to which no table can be copied.
        """
        try:
            taps = self.kept.get(key)
        except TypeError:  # a stride or padding that was set to a list
            key = tuple(tuple(value) if isinstance(value, list) else value for value in key)
            taps = self.kept.get(key)
        if taps is not None:
            return taps
        geometry = Geometry(*key)
        on_cuda = geometry.device.type == "cuda"
        if on_cuda and torch.cuda.is_current_stream_capturing():
            return None
        taps = make_taps(geometry)
        if on_cuda:
            torch.cuda.current_stream(geometry.device).synchronize()  # once a geometry: other streams may use it
        with self.lock:
            if key not in self.kept and type(taps.matrix) is Tensor and taps.num_bytes() <= self.max_bytes:
                self.kept[key] = taps
                self.bytes += taps.num_bytes()
            self.release()
        return taps

    def limit(self, max_bytes: int) -> None:
        """Set the number of bytes, and release what is more than that."""
        with self.lock:
            self.max_bytes = max_bytes
            self.release()

    def release(self) -> None:
        """Release what was kept first, until no more than the allowed bytes are left. The lock must be held."""
        while self.bytes > self.max_bytes:
            self.bytes -= self.kept.pop(next(iter(self.kept))).num_bytes()


TAPS = TapsCache(max_bytes=64 << 20)


def limit_coordinate_cache(max_bytes: int) -> None:
    """Limit the memory of what the layers keep from call to call, for all layers of this process.

    What is kept depends on the sizes of maps and the geometry of layers only, never on weights: some kilobytes for each
    distinct combination. What was kept first is released first. The default is 64 MiB.

    Args:
        max_bytes: Largest number of bytes, on all devices together; 0 keeps nothing.

    Raises:
        TypeError: If ``max_bytes`` is no integer.
        ValueError: If it is negative.
    """
    check_count("max_bytes", max_bytes, 0)
    TAPS.limit(max_bytes)


def clear_coordinate_cache() -> None:
    """Release what the layers have kept from earlier calls; later calls compute it again."""
    limit = TAPS.max_bytes
    TAPS.limit(0)
    TAPS.limit(limit)


def make_taps(geometry: Geometry) -> Taps:
    """Compute the taps of a geometry, in float64 on the CPU, whatever mode or transform is active."""
    with without_dispatch_modes(), torch.inference_mode(False), torch.no_grad():
        sizes = geometry.output_sizes
        tables = tap_tables(geometry, torch.device("cpu"), torch.float64)
        factors: list[Tensor] = []
        if len(sizes) * math.prod(geometry.kernel_size) * math.prod(sizes) > MAX_WHOLE_ELEMENTS:
            factored = [_factor(table) for table in tables]
            tables, factors = [small for small, _ in factored], [factor for _, factor in factored]
            if math.prod(factor.shape[0] for factor in factors) * math.prod(sizes) <= MAX_WHOLE_ELEMENTS:
                factors = [_product([factor[None] for factor in factors])]
        matrix = _product(tables).to(geometry.device, geometry.dtype, non_blocking=True)
        axes = tuple(factor.to(geometry.device, geometry.dtype, non_blocking=True) for factor in factors)
        return Taps(matrix, axes, (1, -1, *sizes))


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
        signals = [axis[nearest] if k == j else torch.ones_like(nearest, dtype=dtype) for j in range(n)]
        tables.append(torch.stack(signals) * reached)
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
    for k, table in enumerate(tables[:-1]):
        # A sum, not a product of matrices: the compiler computes it without copies of the weights in another order.
        spread = table.view(n, *(1,) * k, *table.shape[1:], *(1,) * (n - 1 - k))
        values = (values.unsqueeze(3 + k) * spread).sum(2 + k)
    return torch.matmul(values.movedim(1, -2).flatten(-2), tables[-1].flatten(0, 1))[None]
