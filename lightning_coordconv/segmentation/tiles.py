"""Function that predicts label maps of large images tile by tile, each tile with its coordinates in the image."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn

from lightning_coordconv.core.modes import evaluating
from lightning_coordconv.core.regions import ImageRegions
from lightning_coordconv.core.strides import other_strides, total_stride
from lightning_coordconv.core.undefined import UndefinedOutputError, is_undefined
from lightning_coordconv.layers import AddCoords, coordconv_layers, coordinate_frame

LABELS = (torch.uint8, torch.int16, torch.int32)
"""Types of label maps; the first that holds all classes is used. Few operations of torch take uint16."""


def predict_tiles(
    net: nn.Module,
    image: Tensor | ImageRegions,
    tile: int,
    overlap: int,
    prepare: Callable[[Tensor], Tensor] | None = None,
    strides: Sequence[float] | None = None,
    origin: tuple[int, int] = (0, 0),
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Return the predicted class of each pixel, computed tile by tile.

    Only one tile at a time is moved to the network's device, so an image on the CPU may be larger than its memory; one
    whose pixels stay in their file, such as :class:`~lightning_coordconv.core.regions.ImageRegions` of an uncompressed
    file or ``torch.from_numpy(numpy.memmap(...))``, may be larger than the computer's memory.

    CoordConv layers see the coordinates of the full image. The result is that of the whole image, to rounding, where
    the network sees no further than ``overlap`` pixels from a pixel, and ``tile``, ``tile - 2 * overlap`` and the image
    are multiples of the network's total stride; a warning says if the first two may not be. Global pooling, as in
    DeepLabV3 and LRASPP, sees further: tiles then differ from the whole.

    Args:
        net: maps images (1, C, H, W) to logits (1, K, H, W), or to a dict with them as ``out``. It predicts in
            evaluation mode, and has the mode that it had afterwards.
        image: (C, H, W), on any device, or the regions of a file.
        tile: height and width of the tiles in pixels.
        overlap: pixels around each tile's result that are computed and left out, less than half of ``tile``.
        prepare: makes of a tile what ``net`` takes, such as floating-point numbers of uint8; nothing by default.
            Floating-point numbers are then converted to the dtype of the network's weights.
        strides: all total strides that occur in the network, if one of them is not a power of two.
        origin: row and column of the image in the one that it was cut from.
        size: height and width of that one; by default those of the image.

    Returns:
        (H, W) on the CPU, uint8 for up to 256 classes, int16 for up to 32,768, else int32.

    Raises:
        ValueError: if ``tile`` is not larger than two overlaps, strides that are no powers of two are not named, or the
            logits are not of the tile's size or of fewer than two classes.
        UndefinedOutputError: if a pixel's largest logit is NaN or infinite.
    """
    check_tile(tile, overlap)
    check_strides(net, strides)
    weight = next((weight for weight in net.parameters() if weight.is_floating_point()), None)
    device = image.device if weight is None else weight.device
    height, width = image.shape[-2:]
    if max(height, width) > tile:
        _report_misaligned(tile, overlap, math.lcm(*map(math.ceil, strides)) if strides else total_stride(net))
    found: Tensor | None = None
    for rows, inner_rows in _spans(height, tile, overlap):
        for columns, inner_columns in _spans(width, tile, overlap):
            part = image[:, rows, columns].to(device)
            part = part if prepare is None else prepare(part)
            if weight is not None and part.is_floating_point():
                part = part.to(weight.dtype)
            corner, crop = (origin[0] + rows.start, origin[1] + columns.start), tuple(part.shape[-2:])
            frame = coordinate_frame(corner, size or (height, width), crop=crop, strides=strides)
            with torch.no_grad(), evaluating(net), frame:
                output = net(part[None])
            logits = output["out"] if isinstance(output, Mapping) else output
            if logits.dim() != 4 or len(logits) != 1 or logits.shape[1] < 2 or logits.shape[2:] != part.shape[1:]:
                shape = " x ".join(map(str, part.shape[1:]))
                raise ValueError(
                    f"{type(net).__name__} must return logits (1, K, H, W) of at least two classes and the size of a "
                    f"tile, here {shape}, got {tuple(logits.shape)}"
                )
            if found is None:
                dtype = next(dtype for dtype in LABELS if logits.shape[1] - 1 <= torch.iinfo(dtype).max)
                found = torch.empty(height, width, dtype=dtype)
            largest, labels = logits[0].max(0)
            if bool(is_undefined(largest).any()):
                raise UndefinedOutputError(f"{type(net).__name__} returned NaN or infinity, so a pixel has no class")
            labels = labels.to(found.dtype).cpu()
            inside = (_within(inner_rows, rows), _within(inner_columns, columns))
            found[inner_rows, inner_columns] = labels[inside]
    assert found is not None
    return found


def check_tile(tile: int, overlap: int) -> None:
    """Check that something of a tile is left without its overlaps.

    Raises:
        ValueError: if it is not, or the overlap is negative.
    """
    if overlap < 0 or tile <= 2 * overlap:
        raise ValueError(f"tile must be larger than two overlaps of {overlap}, got {tile}")


def check_strides(net: nn.Module, strides: Sequence[float] | None) -> None:
    """Check that strides are named where frames would take them for powers of two.

    Raises:
        ValueError: if a network that sees coordinates has other strides, and none are named.
    """
    others = other_strides(net)
    if strides is None and others and (coordconv_layers(net) or any(isinstance(m, AddCoords) for m in net.modules())):
        name, stride = next(iter(others.items()))
        raise ValueError(
            f"{name} of {type(net).__name__} has the stride {stride}, which is no power of two: name all total strides "
            f"at which maps of the network see coordinates by strides, such as strides=[1, {stride}] "
            f"(--model.strides [1,{stride}])"
        )


def _report_misaligned(tile: int, overlap: int, stride: int) -> None:
    """Warn of tiles whose maps may lie between the cells of the whole image's, so that labels differ."""
    step = tile - 2 * overlap
    if tile % stride or step % stride:
        rank_zero_warn(
            f"tiles of {tile} pixels that begin every {step} pixels (tile less twice the overlap of {overlap}) are no "
            f"multiples of {stride}, which may be the network's total stride: their maps then lie between the cells of "
            "those of the whole image, and labels differ; choose multiples of the total stride for tile and overlap"
        )


def _spans(length: int, tile: int, overlap: int) -> Iterator[tuple[slice, slice]]:
    """Yield for each tile along an axis what is computed, and the part of it that is kept."""
    if length <= tile:
        yield slice(0, length), slice(0, length)
        return
    step = tile - 2 * overlap
    start = 0
    while True:
        end = min(start + tile, length)
        last = end == length
        yield slice(start, end), slice(start + overlap if start else 0, length if last else end - overlap)
        if last:
            return
        start += step


def _within(inner: slice, outer: slice) -> slice:
    return slice(inner.start - outer.start, inner.stop - outer.start)
