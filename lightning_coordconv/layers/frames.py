"""Context managers that set the coordinates that all layers see: those of a crop in a larger image, or the user's own.

Without a frame a layer takes its own map for the whole image. Inside ``with coordinate_frame(...)`` every CoordConv
layer, at every depth, computes the coordinates that it would see at the same place of the full image instead, so that
tiles agree with the whole, and a random crop is trained at the position that it was cut from.
"""

import contextvars
import functools
import inspect
import math
import threading
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeAlias, TypeVar

import torch
from torch import Tensor

from lightning_coordconv.layers._torch import TRACES_CONTEXT_VARIABLES, backward_pass, values_are_known
from lightning_coordconv.layers.arguments import check_finite, check_flags, check_numbers, check_whole, to_tensor
from lightning_coordconv.layers.places import Field, Frame

P = ParamSpec("P")
T = TypeVar("T")
Positions: TypeAlias = Tensor | Sequence[int] | Sequence[Sequence[int]]

MAX_CELLS = 1 << 24
"""Largest size of an image and distance from it, in cells: float32 cannot tell neighbouring cells beyond."""


_ACTIVE: contextvars.ContextVar[Frame | Field | None] = contextvars.ContextVar("coordinate_frame", default=None)
_ENTERED_IN: contextvars.ContextVar[int | None] = contextvars.ContextVar("backward_pass_of_frame", default=None)

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


def frame_may_be_another() -> bool:
    """Return whether a backward pass runs, and did not itself enter the active block; of no block there is no pass.

    What runs again then may have run first in another block, or in none.
    """
    return backward_pass() not in (None, _ENTERED_IN.get())


class CoordinateBlock:
    """A ``with`` block in which layers see other coordinates, or a decorator that runs a function inside one.

    Raises:
        RuntimeError: On leaving, if another block that was entered later is still active; on entering, if it has been
            entered already.
        TypeError: If it decorates a coroutine function or a generator function, whose body runs after the block.
    """

    def __init__(self, frame: Frame | Field) -> None:
        self.frame = frame
        self.outer: tuple[Frame | Field | None, int | None, Frame | Field | None] | None = None

    def __enter__(self) -> None:
        if self.outer is not None:
            raise RuntimeError("this coordinate_frame or coordinate_field block is active already: make another one")
        eager = not torch.compiler.is_compiling()
        traced = not (eager and TRACES_CONTEXT_VARIABLES)
        outer = (_ACTIVE.get(), _ENTERED_IN.get()) if eager else (None, None)
        self.outer = (*outer, getattr(_TRACED, "frame", None) if traced else None)
        if eager:
            _ACTIVE.set(self.frame)
            _ENTERED_IN.set(backward_pass())
        if traced:
            _TRACED.frame = self.frame

    def __exit__(self, *error: object) -> None:
        eager = not torch.compiler.is_compiling()
        assert self.outer is not None
        (outer, outer_pass, outer_traced), self.outer = self.outer, None
        left_in_order = not eager or _ACTIVE.get() is self.frame
        if not (eager and TRACES_CONTEXT_VARIABLES):
            _TRACED.frame = outer_traced if left_in_order else None
        if eager:
            _ACTIVE.set(outer if left_in_order else None)
            _ENTERED_IN.set(outer_pass if left_in_order else None)
            if not left_in_order:
                raise RuntimeError(
                    "a coordinate_frame or coordinate_field block was left while another one was active: blocks must "
                    "be left in reverse order, in the task and thread that entered them, and a generator must not be "
                    "suspended inside a block while other blocks are entered. All blocks have been left now"
                )

    def __call__(self, function: Callable[P, T]) -> Callable[P, T]:
        """Return a function that runs inside the block."""
        suspends = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
        if any(kind(function) for kind in suspends):
            raise TypeError(
                f"a coordinate_frame or coordinate_field cannot decorate {function.__qualname__}, a coroutine or "
                "generator function, whose body would run after the block: use a with block inside the function"
            )

        @functools.wraps(function)
        def inside(*args: P.args, **kwargs: P.kwargs) -> T:
            with CoordinateBlock(self.frame):
                return function(*args, **kwargs)

        return inside


def coordinate_frame(
    origin: Positions,
    size: Positions,
    *,
    crop: Sequence[int],
    padded: bool = False,
    strides: Sequence[float] | None = None,
    zero_outside: bool = False,
) -> CoordinateBlock:
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
    Without ``strides``, a map that has exactly the cells of a stride that is no power of two is refused; where the crop
    is no multiple of that stride, or the map has few cells, nothing tells.

    What is not a map of the whole input, such as the features that a detector pools for each region, must run outside
    of the block. Frames nest, and the innermost holds. They belong to the thread or asyncio task that enters them, and
    hold while the network *runs*: with activation checkpointing, which runs it again during the backward pass, pass the
    same block as ``context_fn`` to ``torch.utils.checkpoint.checkpoint``, with ``use_reentrant=False``. Otherwise a
    layer refuses to run again, also if ``backward`` is called inside a block, which may be another; in compiled code it
    does not, and gradients are those of other coordinates. A generator that yields inside a block leaves it active for
    its consumer. A compiled network sees the block of the thread, not of the task, on versions of torch older than
    2.15.

    Args:
        origin: Position of the crop's first cell in the full image: n numbers for the whole batch, or ``(B, n)``.
        size: Size of the full image, likewise.
        crop: Size of the network's input, n numbers.
        padded: Allow the crop to reach beyond the image.
        strides: All total strides that occur in the network, if one of them is not a power of two.
        zero_outside: Let coordinates (or what an encoding makes of them) be zero in cells outside of the full image.

    Raises:
        RuntimeError: On leaving, if another block that was entered later is still active.
        TypeError: If an argument is of another type.
        ValueError: If the numbers of axes or of samples do not agree, a stride is not positive, a size is not whole and
            positive, a size or origin is more than 16,777,216 cells, or the crop is not inside the image and ``padded``
            does not allow it. Values on a GPU are not read, so not checked. In a layer, if its map cannot be one of
            such a crop.
    """
    return CoordinateBlock(_make_frame(origin, size, crop, padded, strides, zero_outside))


def coordinate_field(values: Tensor) -> CoordinateBlock:
    """Replace the coordinates of every layer: by metres, degrees, anything that varies over the input.

    Each layer sees them resampled to its map, linearly, in the convention (``align_corners``) of its encoding. They are
    not scaled; choose units in which they are about 1. The radius, if a layer has one, is computed from them.

    Args:
        values: Floating-point, one coordinate an axis at input resolution: ``(n, *sizes)`` for the whole batch, or
            ``(B, n, *sizes)``.

    Raises:
        TypeError: If the values are not a floating-point tensor.
        ValueError: If there are none, or one is NaN or infinite in float32. Values on a GPU are not read, so not
            checked.
    """
    if not (isinstance(values, Tensor) and values.is_floating_point()):
        kind = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise TypeError(f"a coordinate field must be a floating-point tensor, but got {kind}")
    if 0 in values.shape:
        raise ValueError(f"a coordinate field must have values, but got the shape {tuple(values.shape)}")
    check_finite("a coordinate field", values)
    return CoordinateBlock(Field(values))


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
        row = row.clone() if row is value else row  # the caller may change it inside the block
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
    if not (values_are_known(full) and values_are_known(origins)):
        return
    full, origins = full.double(), origins.double()  # small integers would overflow
    if not bool(((full >= 1) & (full <= MAX_CELLS) & (full == full.round())).all()):
        raise ValueError(f"size must be positive and finite, whole, at most {MAX_CELLS} cells, but got {full.tolist()}")
    if not bool((origins.abs() <= MAX_CELLS).all()):
        raise ValueError(f"origin must be finite, at most {MAX_CELLS} cells away, but got {origins.tolist()}")
    ends = origins + origins.new_tensor(crop)
    if not padded and bool(((origins < 0) | (ends > full)).any()):
        raise ValueError(
            f"a crop of {crop} at origin {origins.tolist()} is not inside an image of {full.tolist()}; if it is meant "
            "to reach beyond, pass padded=True"
        )
