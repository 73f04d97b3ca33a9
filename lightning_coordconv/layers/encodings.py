"""Encodings of coordinates: Cartesian, with a radius, polar, Fourier features, or any module of the user."""

import math

import torch
from torch import Tensor, nn

MAX_FREQUENCIES = 24
"""Most Fourier frequencies: of finer ones float32, of 24 bits, cannot tell the phase, and from 128 on they are NaN."""


def append_radius(grid: Tensor) -> Tensor:
    """Append r = sqrt(i^2 + j^2 + ...) to a grid as its last channel.

    The radius is that of the *scaled* coordinates and zero in the middle of the map. (The snippet in the paper's
    appendix subtracts 0.5 after scaling to [-1, 1], which puts the centre elsewhere; the authors' published code
    does not, and neither do we.)

    Args:
        grid: Coordinates of shape ``(F, n, *sizes)``.

    Returns:
        A tensor of shape ``(F, n + 1, *sizes)``.
    """
    return torch.cat((grid, torch.linalg.vector_norm(grid, dim=1, keepdim=True)), dim=1)


class Encoding(nn.Module):
    """Base class of coordinate encodings: subclass it for any function of position.

    A subclass returns from :meth:`num_channels` how many channels it computes from n coordinates, and computes them in
    ``forward``. It may hold parameters, which then train with the layer. The two options choose which coordinates it
    receives; the defaults are the paper's (section 3: a linear scaling to [-1, 1]).

    Args:
        align_corners: As in :func:`torch.nn.functional.interpolate`. True: the *centres* of the first and last cell
            are at -1 and +1. False: their outer *edges* are, so a cell keeps its place when the map is resized.
        preserve_aspect: Scale all axes alike, so that only the longest spans [-1, 1] and a circle stays a circle.
    """

    def __init__(self, *, align_corners: bool = True, preserve_aspect: bool = False) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.preserve_aspect = preserve_aspect

    def num_channels(self, num_axes: int) -> int:
        """Return how many channels ``forward`` computes from the coordinates along ``num_axes`` axes."""
        raise NotImplementedError(f"{type(self).__name__} must define num_channels(num_axes)")

    def forward(self, grid: Tensor) -> Tensor:
        """Encode coordinates.

        Args:
            grid: Scaled coordinates, ``(F, n, *sizes)``, float32 or float64; F is 1, or the batch size where every
                sample has its own frame.

        Returns:
            A tensor of shape ``(F, num_channels(n), *sizes)`` and the same dtype.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward(grid)")

    def extra_repr(self) -> str:
        """Return the options that differ from the paper's."""
        options = {"align_corners": (self.align_corners, True), "preserve_aspect": (self.preserve_aspect, False)}
        return ", ".join(f"{name}={value}" for name, (value, default) in options.items() if value != default)


class Cartesian(Encoding):
    """The coordinates themselves, in dimension order, and optionally the radius: what a layer uses by default.

    Args:
        with_r: Append r = sqrt(i^2 + j^2 + ...) of the scaled coordinates.
        align_corners: See :class:`Encoding`.
        preserve_aspect: See :class:`Encoding`.
    """

    def __init__(self, *, with_r: bool = False, align_corners: bool = True, preserve_aspect: bool = False) -> None:
        super().__init__(align_corners=align_corners, preserve_aspect=preserve_aspect)
        self.with_r = with_r

    def num_channels(self, num_axes: int) -> int:
        """Return n, or n + 1 with the radius."""
        return num_axes + self.with_r

    def forward(self, grid: Tensor) -> Tensor:
        """Return the grid, with the radius appended if asked for."""
        return append_radius(grid) if self.with_r else grid

    def extra_repr(self) -> str:
        """Return the options that differ from the paper's."""
        return ", ".join(filter(None, ("with_r=True" if self.with_r else "", super().extra_repr())))


class Polar(Encoding):
    """Radius and direction from the centre: r, then the unit vector (i / r, j / r, ...), zero at the centre itself.

    The direction stands for the angle, which as a number would jump from +pi to -pi; in two dimensions the unit
    vector is (sin, cos) of the angle from the column axis. Works along any number of axes.

    Args:
        align_corners: See :class:`Encoding`.
        preserve_aspect: See :class:`Encoding`.
    """

    def num_channels(self, num_axes: int) -> int:
        """Return n + 1."""
        return num_axes + 1

    def forward(self, grid: Tensor) -> Tensor:
        """Return radius and direction, ``(F, n + 1, *sizes)``."""
        radius = torch.linalg.vector_norm(grid, dim=1, keepdim=True)
        return torch.cat((radius, torch.where(radius > 0, grid / radius.clamp(min=1e-12), 0.0)), dim=1)


class FourierFeatures(Encoding):
    """Sines and cosines of each coordinate at doubling frequencies (Tancik et al., 2020; Mildenhall et al., 2020).

    The channels are the coordinates (unless left out), then sin(2^k pi x) for k = 0, 1, ... (all axes at k = 0,
    all axes at k = 1, ...), then the cosines in the same order.

    Args:
        num_frequencies: How many frequencies, from 1 to 24; the finest has a period of 2^(2 - num_frequencies).
        include_coordinates: Keep the coordinates themselves as the first channels.
        align_corners: See :class:`Encoding`.
        preserve_aspect: See :class:`Encoding`.

    Raises:
        ValueError: If there is no frequency, or one that single precision cannot represent.
    """

    def __init__(
        self,
        num_frequencies: int = 4,
        *,
        include_coordinates: bool = True,
        align_corners: bool = True,
        preserve_aspect: bool = False,
    ) -> None:
        super().__init__(align_corners=align_corners, preserve_aspect=preserve_aspect)
        if num_frequencies not in range(1, MAX_FREQUENCIES + 1):
            raise ValueError(f"num_frequencies must be from 1 to {MAX_FREQUENCIES}, but got {num_frequencies!r}")
        self.num_frequencies = num_frequencies
        self.include_coordinates = include_coordinates

    def num_channels(self, num_axes: int) -> int:
        """Return 2 n a frequency, and n for the coordinates themselves."""
        return num_axes * (2 * self.num_frequencies + self.include_coordinates)

    def forward(self, grid: Tensor) -> Tensor:
        """Return the features, ``(F, num_channels(n), *sizes)``."""
        angles = torch.cat([grid * (math.pi * 2**k) for k in range(self.num_frequencies)], dim=1)
        waves = (angles.sin(), angles.cos())
        return torch.cat((grid, *waves) if self.include_coordinates else waves, dim=1)

    def extra_repr(self) -> str:
        """Return the options."""
        own = f"num_frequencies={self.num_frequencies}, include_coordinates={self.include_coordinates}"
        return ", ".join(filter(None, (own, super().extra_repr())))


class ConstantCoordinates(Encoding):
    """Ones in place of coordinates: a control with the same weights that cannot know where it is."""

    def num_channels(self, num_axes: int) -> int:
        """Return n."""
        return num_axes

    def forward(self, grid: Tensor) -> Tensor:
        """Return ones of the grid's shape (F, n, *sizes)."""
        return torch.ones_like(grid)
