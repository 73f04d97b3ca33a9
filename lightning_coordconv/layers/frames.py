"""Set the place of a network's input in a larger image, or coordinates of the user's choice, for all layers at once.

Without a frame a layer takes its own map for the whole image. Inside ``with coordinate_frame(...)`` every CoordConv
layer, at every depth, computes the coordinates that it would see at the same place of the full image instead, so that
tiles agree with the whole, and a random crop is trained at the position that it was cut from.
"""

import contextlib
import contextvars
import dataclasses
import math
import threading
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from lightning_coordconv.layers._torch import TRACES_CONTEXT_VARIABLES, transforms_are_active
from lightning_coordconv.layers.arguments import check_flags, check_numbers, check_whole, to_tensor

Positions: TypeAlias = Tensor | Sequence[int] | Sequence[Sequence[int]]


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """Where an input of ``crop`` cells lies in the full image; see :func:`coordinate_frame`.

    Attributes:
        origin: First cell of the crop, ``(F, n)``, F being 1 or the batch size.
        size: Size of the full image, ``(F, n)``.
        crop: Size of the input along each axis.
        strides: The total strides that occur in the network, in ascending order; None for the powers of two.
        zero_outside: Whether coordinates are zero in cells outside of the full image.
    """

    origin: Tensor
    size: Tensor
    crop: tuple[int, ...]
    strides: tuple[float, ...] | None
    zero_outside: bool = False

    def place(self, sizes: Sequence[int], device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return where a map of the given sizes lies in the map that the full image would give.

        Args:
            sizes: Number of cells of the crop's map along each axis.
            device: Where to compute.
            dtype: The dtype to compute in.

        Returns:
            The position of its first cell, and the size of the full map, both ``(F, n)``.

        Raises:
            ValueError: If the map has another number of axes than the frame.
        """
        if len(sizes) != len(self.crop):
            raise ValueError(
                f"the coordinate frame has {len(self.crop)} axes (crop={self.crop}), but the layer has {len(sizes)}"
            )
        strides = [self._stride(crop, cells) for crop, cells in zip(self.crop, sizes, strict=True)]
        stride = torch.tensor(strides, dtype=dtype, device="cpu").to(device, non_blocking=True)
        # A net that pads keeps ceil(crop / stride) cells; one that doesn't loses as many more of them on the full
        # image as on the crop.
        kept = [cells + crop // -s for cells, crop, s in zip(sizes, self.crop, strides, strict=True)]
        size, origin = (values.to(device, dtype, non_blocking=True) for values in (self.size, self.origin))
        full = (size / stride).ceil() + torch.tensor(kept, dtype=dtype, device="cpu").to(device, non_blocking=True)
        return origin / stride, full.clamp(min=1)

    def inside(self, sizes: Sequence[int], device: torch.device, dtype: torch.dtype) -> Tensor:
        """Return which cells of a map of the given sizes lie in the full image, ``(F, 1, *sizes)``, bool."""
        first, full = torch.broadcast_tensors(*self.place(sizes, device, dtype))
        inside = torch.ones((), dtype=torch.bool, device=device)
        for axis, cells in enumerate(sizes):
            cell = first[:, axis, None] + torch.arange(cells, device=device, dtype=dtype)
            within = (cell > -0.5) & (cell < full[:, axis, None] - 0.5)
            inside = inside & within.view(-1, 1, *(cells if k == axis else 1 for k in range(len(sizes))))
        return inside

    def _stride(self, crop: int, cells: int) -> float:
        """Return the total stride at which a crop gives that many cells: the largest that would give no fewer.

        Convolutions without padding leave fewer cells than ceil(crop / stride), and the rule holds until half of them
        are lost. Up to an eighth may be gained by padding too much. One cell is taken for the coarsest map.
        """

        def gives(stride: float) -> bool:
            return 8 * cells <= 9 * -(crop // -stride)

        if self.strides is not None:
            return max(filter(gives, self.strides), default=self.strides[0])
        stride: float = 1
        while not gives(stride):
            stride /= 2
        while stride < crop and gives(2 * stride):
            stride *= 2
        return stride


@dataclasses.dataclass(frozen=True, eq=False)
class Field:
    """Coordinates given cell by cell at input resolution; see :func:`coordinate_field`."""

    values: Tensor

    def grid(self, num_axes: int, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Return the coordinates as ``(F, n, *sizes)``.

        Raises:
            ValueError: If they are not one for each of the layer's axes.
        """
        if self.values.dim() - num_axes not in (1, 2) or self.values.shape[-num_axes - 1] != num_axes:
            raise ValueError(
                f"a layer with {num_axes} axes needs coordinates of shape (n, *sizes) or (B, n, *sizes) with "
                f"n = {num_axes}, but the coordinate field has shape {tuple(self.values.shape)}"
            )
        values = self.values.to(device, dtype, non_blocking=True)
        return values if values.dim() == num_axes + 2 else values[None]


_ACTIVE: contextvars.ContextVar[Frame | Field | None] = contextvars.ContextVar("coordinate_frame", default=None)

# What compiled code sees. It can enter a block, which does not change _ACTIVE: torch.compile cannot set a context
# variable. Where it cannot read one either, code that runs eagerly sets this too. (A subclass of threading.local with a
# default would break the graph.)
_TRACED = threading.local()


def active_frame() -> Frame | Field | None:
    """Return what the innermost ``with`` block of this thread or task set, or None outside of any."""
    if torch.compiler.is_compiling():
        traced: Frame | Field | None = getattr(_TRACED, "frame", None)
        if traced is not None or not TRACES_CONTEXT_VARIABLES:
            return traced
    return _ACTIVE.get()


@contextlib.contextmanager
def _active(frame: Frame | Field) -> Iterator[None]:
    eager = not torch.compiler.is_compiling()
    traced = not (eager and TRACES_CONTEXT_VARIABLES)
    outer = _ACTIVE.get() if eager else None
    outer_traced = getattr(_TRACED, "frame", None) if traced else None
    if eager:
        _ACTIVE.set(frame)
    if traced:
        _TRACED.frame = frame
    try:
        yield
    finally:
        left_in_order = not eager or _ACTIVE.get() is frame
        if traced:
            _TRACED.frame = outer_traced if left_in_order else None
        if eager:
            _ACTIVE.set(outer if left_in_order else None)
            if not left_in_order:
                raise RuntimeError(
                    "a coordinate_frame or coordinate_field block was left while another one was active: blocks must "
                    "be left in reverse order, in the task and thread that entered them, and a generator must not be "
                    "suspended inside a block while other blocks are entered. All blocks have been left now"
                )


@contextlib.contextmanager
def coordinate_frame(
    origin: Positions,
    size: Positions,
    *,
    crop: Sequence[int],
    padded: bool = False,
    strides: Sequence[float] | None = None,
    zero_outside: bool = False,
) -> Iterator[None]:
    """Let every layer see the coordinates of a crop within its full image.

    Tiles, random crops (per-sample origins), and images of several sizes padded into one canvas::

        with coordinate_frame((top, left), image.shape[-2:], crop=tile.shape[-2:]):
            out = net(tile)
        with coordinate_frame(origins, sizes, crop=crops.shape[-2:]):  # origins, sizes: (B, 2)
            out = net(crops)
        with coordinate_frame((0, 0), sizes, crop=canvas.shape[-2:], padded=True):
            out = net(canvas)

    In a padded canvas each image has its own coordinates, whatever its batch mates; they run past +1 in the padding,
    or are zero there with ``zero_outside=True``, which is what a convolution that pads with zeros sees beyond an image.

    A layer finds its total stride s, axis by axis, from the size of its map: the largest power of two (or member of
    ``strides``) with which a crop could leave that many cells. That is right for networks that pad, and for networks
    that do not, as long as they keep more than half of the cells. Then its map of ``h`` cells begins at cell
    ``origin / s`` of a full map of ``h + ceil(size / s) - ceil(crop / s)`` cells. This is exact where the origin, and
    ``size - crop``, are multiples of s. Other origins are allowed and fall between cells. Where a size is not a
    multiple of the stride, the size of the full map is rounded up, as convolutions that pad by half their kernel do.

    What is not a map of the whole input, such as the features that a detector pools for each region, must run outside
    of the block. Frames nest, and the innermost holds. They belong to the thread or asyncio task that enters them, and
    hold while the network *runs*: with activation checkpointing, which runs it again during the backward pass, pass the
    same block as ``context_fn`` to ``torch.utils.checkpoint.checkpoint``, with ``use_reentrant=False``; otherwise the
    gradients are those of other coordinates, mostly without an error. A generator that yields inside a block leaves it
    active for its consumer. A compiled network sees the block of the thread, not of the task, on versions of torch
    older than 2.15.

    Args:
        origin: Position of the crop's first cell in the full image: n numbers for the whole batch, or ``(B, n)``.
        size: Size of the full image, likewise.
        crop: Size of the network's input, n numbers.
        padded: Allow the crop to reach beyond the image.
        strides: The total strides that occur in the network, if they are not powers of two.
        zero_outside: Let coordinates (or what an encoding makes of them) be zero in cells outside of the full image.

    Raises:
        RuntimeError: On leaving, if another block that was entered later is still active.
        TypeError: If an argument is of another type.
        ValueError: If the numbers of axes or of samples do not agree, a size or stride is not positive, or the crop is
            not inside the image and ``padded`` does not allow it. Values on a GPU are not read, so not checked.
    """
    with _active(_make_frame(origin, size, crop, padded, strides, zero_outside)):
        yield


@contextlib.contextmanager
def coordinate_field(values: Tensor) -> Iterator[None]:
    """Replace the coordinates of every layer: by metres, degrees, anything that varies over the input.

    Each layer sees them resampled to its map, linearly, in the convention (``align_corners``) of its encoding. They are
    not scaled; choose units in which they are about 1. The radius, if a layer has one, is computed from them.

    Args:
        values: Floating-point, one coordinate an axis at input resolution: ``(n, *sizes)`` for the whole batch, or
            ``(B, n, *sizes)``.

    Raises:
        TypeError: If the values are not a floating-point tensor.
    """
    if not (isinstance(values, Tensor) and values.is_floating_point()):
        kind = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise TypeError(f"a coordinate field must be a floating-point tensor, but got {kind}")
    with _active(Field(values)):
        yield


def _make_frame(
    origin: Positions,
    size: Positions,
    crop: Sequence[int],
    padded: bool,
    strides: Sequence[float] | None,
    zero_outside: bool,
) -> Frame:
    check_flags(padded=padded, zero_outside=zero_outside)
    check_whole("crop", crop)
    if strides is not None:
        check_numbers("strides", strides)
    crop, n = tuple(crop), len(crop)
    rows = []
    for name, value in (("origin", origin), ("size", size)):
        row = to_tensor(name, value)
        if row.dim() not in (1, 2) or row.shape[-1] != n:
            raise ValueError(f"{name} must have shape ({n},) or (B, {n}) for crop={crop}, but has {tuple(row.shape)}")
        rows.append(row if row.dim() == 2 else row[None])
    origins, full = rows
    origins = origins.to(full.device, non_blocking=True)
    if 1 != origins.shape[0] != full.shape[0] != 1:
        raise ValueError(f"origin is of {origins.shape[0]} samples, but size of {full.shape[0]}")
    _check(origins, full, crop, padded, strides)
    return Frame(origins, full, crop, None if strides is None else tuple(sorted(strides)), zero_outside)


def _check(origins: Tensor, full: Tensor, crop: tuple[int, ...], padded: bool, strides: Sequence[float] | None) -> None:
    if len(crop) == 0 or min(crop) < 1:
        raise ValueError(f"crop must be positive along every axis, but got {crop}")
    if strides is not None and (len(strides) == 0 or not all(0 < stride < math.inf for stride in strides)):
        raise ValueError(f"strides must be positive and finite, and at least one, but got {tuple(strides)}")
    if torch.compiler.is_compiling() or transforms_are_active() or full.device.type != "cpu":
        return  # what follows depends on values, which a graph does not know and for which the host would wait
    if not bool((full >= 1).all() & full.isfinite().all()):
        raise ValueError(f"size must be positive and finite along every axis, but got {full.tolist()}")
    if not bool(origins.isfinite().all()):
        raise ValueError(f"origin must be finite along every axis, but got {origins.tolist()}")
    ends = origins + origins.new_tensor(crop)
    if not padded and bool(((origins < 0) | (ends > full)).any()):
        raise ValueError(
            f"a crop of {crop} at origin {origins.tolist()} is not inside an image of {full.tolist()}; if it is meant "
            "to reach beyond, pass padded=True"
        )
