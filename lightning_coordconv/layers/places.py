"""Classes of coordinates for layers: ``Frame``, a crop's position in an image, and ``Field``, the user's own values."""

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor

ROUNDING = 1e-3
"""By how much a quotient of a size and a stride such as 1/3 may exceed a whole number by rounding."""


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
            ValueError: If the map has another number of axes than the frame, or no network that pads evenly can make
                it of a crop of that size.
        """
        if len(sizes) != len(self.crop):
            raise ValueError(
                f"the coordinate frame has {len(self.crop)} axes (crop={self.crop}), but the layer has {len(sizes)}"
            )
        strides = [self._stride(crop, cells) for crop, cells in zip(self.crop, sizes, strict=True)]
        self._check_map(sizes, strides)
        stride = torch.tensor(strides, dtype=dtype, device="cpu").to(device, non_blocking=True)
        # A net that pads keeps ceil(crop / stride) cells; one that doesn't loses as many more of them on the full
        # image as on the crop.
        kept = [cells - _map_size(crop, s) for cells, crop, s in zip(sizes, self.crop, strides, strict=True)]
        size, origin = (values.to(device, dtype, non_blocking=True) for values in (self.size, self.origin))
        full = (size / stride - ROUNDING).ceil() + torch.tensor(kept, dtype=dtype, device="cpu").to(
            device, non_blocking=True
        )
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

    def _check_map(self, sizes: Sequence[int], strides: Sequence[float]) -> None:
        """Refuse a map that the crop cannot give: most often the network's input is not of the size of the crop.

        A finer map than the crop has a whole number of cells for each cell of it, up to what an uneven padding changes;
        and no network has a finer map along one axis and a coarser one along another. Where strides are named, a map of
        half the cells or less has another one.
        """
        pairs = list(zip(self.crop, sizes, strides, strict=True))
        if self.strides is not None:
            fits = all(8 * cells <= 9 * _map_size(crop, stride) for crop, cells, stride in pairs)
            fits = fits and all(cells == 1 or 2 * cells > _map_size(crop, stride) for crop, cells, stride in pairs)
        else:
            for crop, cells, stride in pairs:
                _check_guess(crop, cells, stride)
            fits = all(stride >= 1 or cells >= (crop - 1) / stride + 1 for crop, cells, stride in pairs)
            fits = fits and not min(strides) < 1 < max(strides)
        if not fits:
            raise ValueError(
                f"a map of {tuple(sizes)} cells does not fit the coordinate frame, whose crop is {self.crop}, with "
                f"strides={self.strides}: crop must be the size of the network's input, and strides must name the "
                "total strides of the network if they are no powers of two, such as 1/3"
            )

    def _stride(self, crop: int, cells: int) -> float:
        """Return the total stride at which a crop gives that many cells: the largest that would give no fewer.

        Convolutions without padding leave fewer cells than ceil(crop / stride), and the rule holds until half of them
        are lost. Up to an eighth may be gained by padding too much. One cell is taken for the coarsest map.
        """

        def gives(stride: float) -> bool:
            return 8 * cells <= 9 * _map_size(crop, stride)

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
        """Return a copy of the coordinates, which an encoding may change in place, as ``(F, n, *sizes)``.

        Raises:
            ValueError: If they are not one for each of the layer's axes.
        """
        if self.values.dim() - num_axes not in (1, 2) or self.values.shape[-num_axes - 1] != num_axes:
            raise ValueError(
                f"a layer with {num_axes} axes needs coordinates of shape (n, *sizes) or (B, n, *sizes) with "
                f"n = {num_axes}, but the coordinate field has shape {tuple(self.values.shape)}"
            )
        values = self.values.to(device, dtype, non_blocking=True, copy=True)
        return values if values.dim() == num_axes + 2 else values[None]


def _check_guess(crop: int, cells: int, stride: float) -> None:
    """Refuse a power of two as the stride of a map that has exactly the cells of another stride, and not of this one.

    Raises:
        ValueError: If it has. One cell is taken for a map that was pooled, whatever the crop.
    """
    other = crop // cells
    exact = cells in (crop // stride, _map_size(crop, stride))
    if cells > 1 and other * cells == crop and other & (other - 1) and not exact:
        raise ValueError(
            f"a map of {cells} cells of a crop of {crop} looks like a total stride of {other}, which is no power of "
            f"two: name all total strides of the network by strides, such as strides=(1, {other}), or, if it does "
            "not pad, its powers of two"
        )


def _map_size(cells: int, stride: float) -> int:
    """Return how many cells a network that pads makes of a number of cells."""
    return -(cells // -stride) if stride >= 1 else math.ceil(cells / stride - ROUNDING)  # type: ignore[return-value]
