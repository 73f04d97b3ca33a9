"""Functions that compute the coordinates of a layer's input, plain or encoded, and check the input of layers.

Coordinates come in dimension order (rows, then columns; in N dimensions each axis in turn). The default scaling is the
paper's (section 3, "a final linear scaling ... to make them fall in the range [-1, 1]"): the centres of the first and
last cell of each axis are at -1 and +1, whatever its length. An axis of one cell is at 0.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_coordconv.layers.arguments import check_finite, check_flags, check_tensor
from lightning_coordconv.layers.encodings import FINITE, Cartesian, Encoding, append_radius
from lightning_coordconv.layers.guards import check_not_quantised
from lightning_coordconv.layers.places import Field, Frame


def coordinate_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the real dtype in which coordinates for a tensor of ``dtype`` are computed: float32 at least.

    In bfloat16 the coordinates of neighbouring cells collide from 256 cells on.
    """
    return torch.float64 if dtype in (torch.float64, torch.complex128) else torch.float32


def coordinate_axes(
    sizes: Sequence[int],
    *,
    place: tuple[Tensor, Tensor] | None = None,
    align_corners: bool = True,
    preserve_aspect: bool = False,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> list[Tensor]:
    """Return the scaled coordinate of every cell along each axis of a map.

    Args:
        sizes: Number of cells along each axis.
        place: Where the map lies in a larger map, if it does: the position of its first cell there, and the size of
            the larger map, each ``(F, n)`` (or ``(1, n)``), of the same device and dtype as the axes.
        align_corners: True: the first and last cell centres are at -1 and +1; False: their outer edges are.
        preserve_aspect: Divide every axis by the extent of the longest, so that only that one spans [-1, 1].
        device: Where to build them.
        dtype: ``torch.float32`` or wider.

    Returns:
        One tensor of shape ``(size,)`` an axis, or ``(F, size)`` in a larger map, with values in [-1, 1] for cells
        within it.
    """
    # arange, not linspace: linspace freezes the size under torch.export. The numerator is a whole number and so exact,
    # which makes the axis exactly antisymmetric and its ends exactly -1 and +1.
    cells = [torch.arange(size, device=device, dtype=dtype) for size in sizes]
    if place is not None:
        first, full = torch.broadcast_tensors(*place)
        extent = full - 1 if align_corners else full
        extent = (extent.amax(dim=1, keepdim=True).expand_as(extent) if preserve_aspect else extent).clamp(min=1)
        return [
            (2 * (cell + first[:, k : k + 1]) - (full[:, k : k + 1] - 1)) / extent[:, k : k + 1]
            for k, cell in enumerate(cells)
        ]
    # The last cell is size - 1 as a tensor. A comparison of sizes themselves would be fixed by the exporter.
    lasts = [cell[-1:] for cell in cells]
    extents = lasts if align_corners else [last + 1 for last in lasts]
    if preserve_aspect:
        extents = [torch.cat(extents).amax(dim=0)] * len(extents)
    return [(2 * cell - last) / extent.clamp(min=1) for cell, last, extent in zip(cells, lasts, extents, strict=True)]


def resample_grid(grid: Tensor, sizes: Sequence[int], *, align_corners: bool = True) -> Tensor:
    """Sample a grid linearly at the cell centres of a map of another size.

    Like ``torch.nn.functional.interpolate``, in any number of dimensions, except that a map of one cell samples the
    middle, as in :func:`coordinate_axes`, and not the first corner.

    Args:
        grid: ``(F, n, *old_sizes)``, float32 or float64.
        sizes: Number of cells of the wanted map along each axis.
        align_corners: Whether the first and last cell centres of both maps coincide, or their outer edges do.

    Returns:
        A tensor of shape ``(F, n, *sizes)``.
    """
    for axis, (old, new) in enumerate(zip(grid.shape[2:], sizes, strict=True), start=2):
        if old != new:
            (scaled,) = coordinate_axes([new], align_corners=align_corners, device=grid.device, dtype=grid.dtype)
            position = ((scaled * (old - 1 if align_corners else old) + (old - 1)) / 2).clamp(0, old - 1)
            low = position.floor()
            weight = (position - low).view(-1, *(1,) * (grid.dim() - axis - 1))
            low_cell = low.long()
            high_cell = (low_cell + 1).clamp(max=old - 1)
            grid = torch.lerp(grid.index_select(axis, low_cell), grid.index_select(axis, high_cell), weight)
    return grid


def coordinate_grid(axes: Sequence[Tensor]) -> Tensor:
    """Return the grid that axes span.

    Args:
        axes: One tensor of shape ``(size,)`` an axis, or ``(F, size)`` for F grids at once.

    Returns:
        A tensor of shape ``(F, n, *sizes)``, where F is 1 for axes without that dimension.
    """
    n = len(axes)
    sizes = [axis.shape[-1] for axis in axes]
    shaped = [axis.view(-1, *(sizes[k] if k == j else 1 for j in range(n))) for k, axis in enumerate(axes)]
    return torch.stack([axis.expand(-1, *sizes) for axis in shaped], dim=1)


def num_coordinates(num_axes: int, with_r: bool, encoding: Encoding | None) -> int:
    """Return the number of coordinate channels of a layer.

    Raises:
        TypeError: If the encoding is not an :class:`Encoding`, or ``with_r`` no bool.
        ValueError: If both ``with_r`` and an encoding are given, or the encoding produces no channels.
    """
    check_flags(with_r=with_r)
    if encoding is None:
        return num_axes + with_r
    if not isinstance(encoding, Encoding):
        raise TypeError(f"encoding must be an instance of Encoding or None, but got {encoding!r}")
    if with_r:
        raise ValueError(
            f"with_r=True and encoding={encoding!r} exclude each other; try encoding=Cartesian(with_r=True)"
        )
    channels = encoding.num_channels(num_axes)
    if not isinstance(channels, int) or channels < 1:
        raise ValueError(f"{encoding!r} makes {channels!r} channels of {num_axes} coordinates; at least 1 is needed")
    return channels


def encoded_coordinates(
    sizes: Sequence[int],
    with_r: bool,
    encoding: Encoding | None,
    frame: Frame | Field | None,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """Return the coordinate channels that a layer sees on a map of the given sizes.

    Args:
        sizes: Number of cells along each axis.
        with_r: Append the radius; only where there is no encoding.
        encoding: How to encode the coordinates; None leaves them as they are.
        frame: Which coordinates the layer sees; None for those of its own map.
        device: Where to build them.
        dtype: ``torch.float32`` or wider.

    Returns:
        A tensor of shape ``(F, d, *sizes)``, where F is 1 or the batch size.
    """
    align_corners = encoding is None or encoding.align_corners
    if isinstance(frame, Field):
        grid = resample_grid(frame.grid(len(sizes), device, dtype), sizes, align_corners=align_corners)
    else:
        axes = coordinate_axes(
            sizes,
            place=None if frame is None else frame.place(sizes, device, dtype),
            align_corners=align_corners,
            preserve_aspect=encoding is not None and encoding.preserve_aspect,
            device=device,
            dtype=dtype,
        )
        grid = coordinate_grid(axes)
    channels: Tensor = (append_radius(grid) if with_r else grid) if encoding is None else encoding(grid)
    if encoding is not None:
        check_encoded(channels, encoding, grid)
    if isinstance(frame, Frame) and frame.zero_outside:
        return channels.masked_fill(~frame.inside(sizes, device, dtype), 0.0)
    return channels


def describe_coordinates(with_r: bool, encoding: Encoding | None) -> str:
    """Return the class and the options of the coordinates that a layer sees, ``"Cartesian()"`` by default.

    Those of encodings within the encoding follow, by their names in it.
    """
    seen = Cartesian(with_r=with_r) if encoding is None else encoding
    parts = [(name, part) for name, part in seen.named_modules() if isinstance(part, Encoding)]
    return ", ".join(f"{name}={type(part).__name__}({part.extra_repr()})" for name, part in parts).removeprefix("=")


def check_floating(x: Tensor, name: str) -> None:
    """Raise an error if the input of a layer is no tensor of floating-point or complex numbers.

    Raises:
        TypeError: If x is no tensor, or of an integer dtype or bool.
    """
    check_tensor(x, name)
    if not (x.is_floating_point() or x.is_complex()):
        check_not_quantised(x, name)
        raise TypeError(f"{name} expects a floating-point input, but got {x.dtype}; convert it, e.g. with x.float()")


def check_input(x: Tensor, num_axes: int, name: str) -> None:
    """Raise an error if a tensor is not floating-point (or complex), or has the wrong number of dimensions.

    Raises:
        TypeError: If x is no tensor, or of an integer dtype or bool.
        ValueError: If x is neither ``(B, C, *sizes)`` nor ``(C, *sizes)``.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        check_floating(x, name)
    if x.dim() not in (num_axes + 1, num_axes + 2):
        raise ValueError(
            f"{name} expects a batched input of {num_axes + 2} dimensions or an unbatched one of {num_axes + 1}, "
            f"but got shape {tuple(x.shape)}"
        )


def check_encoded(channels: Tensor, encoding: Encoding, grid: Tensor) -> None:
    """Raise an error if an encoding returned another shape than it promises, which addition might broadcast, or NaN.

    Raises:
        ValueError: If the channels are not ``(F, d, *sizes)``, where the grid is ``(F, n, *sizes)``, and of its dtype;
            or if one of them is NaN or infinite. Values on a GPU are not read, so not checked.
    """
    expected = (grid.shape[0], encoding.num_channels(grid.shape[1]), *grid.shape[2:])
    if not isinstance(channels, Tensor) or channels.shape != expected:
        got = tuple(channels.shape) if isinstance(channels, Tensor) else type(channels).__name__
        raise ValueError(f"{encoding!r} must return a tensor of shape {expected}, but returned {got}")
    if channels.dtype != grid.dtype:
        raise ValueError(f"{encoding!r} must return a tensor of {grid.dtype}, but returned {channels.dtype}")
    if type(encoding) not in FINITE:
        check_finite("what {!r} returns", channels, encoding)


def check_samples(coords: Tensor, batch: int) -> None:
    """Raise an error if coordinates are of another number of samples than the batch.

    Raises:
        ValueError: If there is neither one grid for all samples nor one for each.
    """
    if coords.shape[0] != 1 and coords.shape[0] != batch:
        raise ValueError(f"the coordinate frame is of {coords.shape[0]} samples, but the input has {batch}")


def memory_format(x: Tensor) -> torch.memory_format:
    """Return the memory format of a batched tensor: channels last unless it is also contiguous in the usual order."""
    for rank, candidate in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        if x.dim() == rank and x.is_contiguous(memory_format=candidate) and not x.is_contiguous():
            return candidate
    return torch.contiguous_format
