"""Module ``AddCoords``, which concatenates coordinate channels to the channels of a tensor."""

import torch
from torch import Tensor

from lightning_coordconv.layers._torch import RecordsCoordinates
from lightning_coordconv.layers.arguments import check_count
from lightning_coordconv.layers.coords import (
    check_input,
    check_samples,
    coordinate_dtype,
    describe_coordinates,
    encoded_coordinates,
    memory_format,
    num_coordinates,
)
from lightning_coordconv.layers.encodings import Encoding
from lightning_coordconv.layers.recomputation import SeesFrames
from lightning_coordconv.layers.tracing import is_traced_symbolically, trace_as_leaf


class AddCoords(SeesFrames, RecordsCoordinates):
    """Concatenate coordinate channels after the channels of a tensor, as the paper defines them (section 3).

    The convolutions of this package compute the same result without this copy. Use this module in front of layers
    other than convolutions, and in networks that have to follow the paper's code literally. (That code appends the
    column coordinate before the row; this package keeps dimension order.)

    Args:
        num_axes: Number of spatial axes, which tells ``(C, H, W)`` from ``(B, C, L)``.
        with_r: Also append r = sqrt(i^2 + j^2 + ...) of the scaled coordinates.
        encoding: What to append instead of the plain coordinates.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If ``num_axes`` is less than 1, or both ``with_r`` and an encoding are given.
    """

    def __init__(self, num_axes: int = 2, *, with_r: bool = False, encoding: Encoding | None = None) -> None:
        super().__init__()
        check_count("num_axes", num_axes)
        self.num_axes = num_axes
        self.num_coordinates = num_coordinates(num_axes, with_r, encoding)
        self.with_r = with_r
        self.encoding = encoding

    def describe_coordinates(self) -> str:
        """Return the class and the options of the coordinates."""
        return describe_coordinates(self.with_r, self.encoding)

    def forward(self, x: Tensor) -> Tensor:
        """Append the coordinate channels.

        Args:
            x: A floating-point tensor of shape ``(B, C, *sizes)`` or ``(C, *sizes)``.

        Returns:
            A tensor of shape ``(B, C + d, *sizes)`` or ``(C + d, *sizes)`` of the dtype and memory format of x. The
            coordinates are computed in float32 at least and rounded only at the end.

        Raises:
            TypeError: If x is not floating-point.
            ValueError: If x has the wrong number of dimensions.
        """
        if type(x) is not Tensor and is_traced_symbolically(x):
            return trace_as_leaf(self, x)
        check_input(x, self.num_axes, type(self).__name__)
        sizes = x.shape[-self.num_axes :]
        dtype, frame = coordinate_dtype(x.dtype), self.seen_frame()
        coords = encoded_coordinates(sizes, self.with_r, self.encoding, frame, x.device, dtype).to(x.dtype)
        if x.dim() == self.num_axes + 1:
            check_samples(coords, 1)
            return torch.cat((x, coords[0]), dim=0)
        check_samples(coords, x.shape[0])
        # cat keeps a memory format only if all of its inputs have it.
        coords = coords.expand(x.shape[0], -1, *sizes).contiguous(memory_format=memory_format(x))
        return torch.cat((x, coords), dim=1)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"num_axes={self.num_axes}" + (", with_r=True" if self.with_r else "")
