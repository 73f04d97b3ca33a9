"""Classes of coordinate encodings: a base class, Cartesian, polar, Fourier, sinusoidal, learned and constant."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_coordconv.layers.arguments import check_count, check_flags, check_number, check_sizes, is_sequence, shown
from lightning_coordconv.layers.plain_options import plain_options

MAX_FREQUENCIES = 24
"""Most Fourier frequencies: of finer ones float32, of 24 bits, cannot tell the phase, and from 128 on they are NaN."""
PAPER = {"with_r": False, "align_corners": True, "preserve_aspect": False}
"""Options of the paper's coordinates, which texts leave out."""


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
        check_flags(align_corners=align_corners, preserve_aspect=preserve_aspect)
        self.align_corners = bool(align_corners)
        self.preserve_aspect = bool(preserve_aspect)

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
        """Return the options that differ from the paper's.

        State dicts record the text, and load only into layers of an equal one: options belong into it, and nothing that
        training changes. Of a subclass without this method it has all public attributes that are numbers or texts, or
        lists, tuples or dicts of such. Tensors belong into buffers, which state dicts hold.
        """
        names = [name for kind, options in OPTIONS.items() if isinstance(self, kind) for name in options]
        values = {name: getattr(self, name) for name in names}
        if type(self).extra_repr.__module__ == __name__:
            values |= plain_options(self)
        return ", ".join(f"{name}={value!r}" for name, value in values.items() if value != PAPER.get(name))


class Cartesian(Encoding):
    """The coordinates themselves, in dimension order, and optionally the radius: what a layer uses by default.

    Args:
        with_r: Append r = sqrt(i^2 + j^2 + ...) of the scaled coordinates.
        align_corners: See :class:`Encoding`.
        preserve_aspect: See :class:`Encoding`.
    """

    def __init__(self, *, with_r: bool = False, align_corners: bool = True, preserve_aspect: bool = False) -> None:
        super().__init__(align_corners=align_corners, preserve_aspect=preserve_aspect)
        check_flags(with_r=with_r)
        self.with_r = bool(with_r)

    def num_channels(self, num_axes: int) -> int:
        """Return n, or n + 1 with the radius."""
        return num_axes + self.with_r

    def forward(self, grid: Tensor) -> Tensor:
        """Return the grid, with the radius appended if asked for."""
        return append_radius(grid) if self.with_r else grid


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
        check_count("num_frequencies", num_frequencies, 1, MAX_FREQUENCIES)
        check_flags(include_coordinates=include_coordinates)
        self.num_frequencies = int(num_frequencies)
        self.include_coordinates = bool(include_coordinates)

    def num_channels(self, num_axes: int) -> int:
        """Return 2 n a frequency, and n for the coordinates themselves."""
        return num_axes * (2 * self.num_frequencies + self.include_coordinates)

    def forward(self, grid: Tensor) -> Tensor:
        """Return the features, ``(F, num_channels(n), *sizes)``."""
        angles = torch.cat([grid * (math.pi * 2**k) for k in range(self.num_frequencies)], dim=1)
        waves = (angles.sin(), angles.cos())
        return torch.cat((grid, *waves) if self.include_coordinates else waves, dim=1)


class Sinusoidal(Encoding):
    """Sines and cosines of each coordinate at geometrically falling frequencies (Vaswani et al., 2017, section 3.5).

    As DETR does for images (Carion et al., 2020, appendix A.4; ``normalize=True`` in its code), each axis is scaled to
    [0, 2 pi], and the angle at frequency k of m is ``pi (x + 1) / temperature^(k / m)``. The channels are all sines
    (all axes at k = 0, all axes at k = 1, ...), then the cosines in the same order; DETR alternates them in each axis.

    Args:
        num_frequencies: How many frequencies m, at least 1.
        temperature: Greater than 1; the larger, the slower the last frequency.
        align_corners: See :class:`Encoding`.
        preserve_aspect: See :class:`Encoding`.

    Raises:
        ValueError: If there is no frequency, or the temperature is not finite or not greater than 1.
    """

    def __init__(
        self,
        num_frequencies: int = 4,
        *,
        temperature: float = 10_000.0,
        align_corners: bool = True,
        preserve_aspect: bool = False,
    ) -> None:
        super().__init__(align_corners=align_corners, preserve_aspect=preserve_aspect)
        check_count("num_frequencies", num_frequencies)
        check_number("temperature", temperature)
        if not 1 < temperature < math.inf:
            raise ValueError(f"temperature must be finite and greater than 1, but got {temperature}")
        self.num_frequencies = int(num_frequencies)
        self.temperature = float(temperature)

    def num_channels(self, num_axes: int) -> int:
        """Return 2 n a frequency."""
        return 2 * num_axes * self.num_frequencies

    def forward(self, grid: Tensor) -> Tensor:
        """Return the features, ``(F, num_channels(n), *sizes)``."""
        m = self.num_frequencies
        angles = torch.cat([(grid + 1) * (math.pi * self.temperature ** (-k / m)) for k in range(m)], dim=1)
        return torch.cat((angles.sin(), angles.cos()), dim=1)


class LearnedGrid(Encoding):
    """A learned grid of vectors, interpolated linearly at the coordinates of each cell.

    The source is the learned position embedding of vision transformers, which is interpolated for images of other sizes
    (Dosovitskiy et al., 2021, section 3.2). Here the size of the grid is fixed, and maps of all sizes interpolate it.
    Its first and last cells are where ``align_corners`` puts those of a map; beyond them its border continues. It
    starts uniform in [-1, 1], the range of the plain coordinates. Converted layers each get a copy that trains
    separately.

    Args:
        channels: Length of the vectors, at least 1.
        size: Number of vectors along each axis, one number for each of the layer's 1 to 3 axes.
        align_corners: See :class:`Encoding`.
        preserve_aspect: See :class:`Encoding`.

    Attributes:
        values: The vectors, ``(channels, *size)``, a parameter.

    Raises:
        ValueError: If ``channels`` or ``size`` is not positive, or there are more than 3 axes; or, in a layer, if the
            layer has another number of axes.
        TypeError: In ``forward``, if the vectors are complex, as after ``Module.to(torch.complex64)`` of a network.
    """

    def __init__(
        self, channels: int, size: Sequence[int], *, align_corners: bool = True, preserve_aspect: bool = False
    ) -> None:
        super().__init__(align_corners=align_corners, preserve_aspect=preserve_aspect)
        check_count("channels", channels)
        if not is_sequence(size) or not 1 <= len(size) <= 3:
            raise ValueError(f"size must be a tuple of 1 to 3 positive integers, but got {shown(size)}")
        check_sizes("size", size, len(size), 1)
        self.values = nn.Parameter(torch.empty(channels, *size).uniform_(-1, 1))

    def num_channels(self, num_axes: int) -> int:
        """Return the number of channels of the grid."""
        if num_axes != self.values.dim() - 1:
            size = tuple(self.values.shape[1:])
            raise ValueError(f"a learned grid of size {size} has {len(size)} axes, but the layer has {num_axes}")
        return self.values.shape[0]

    def forward(self, grid: Tensor) -> Tensor:
        """Return the interpolated vectors, ``(F, channels, *sizes)``."""
        if self.values.is_complex():
            raise TypeError(
                f"a learned grid must be real, but its values are {self.values.dtype}: convert them with .real"
            )
        places = grid.movedim(1, -1).flip(-1)  # grid_sample takes the last axis first
        values = self.values.to(grid.dtype)
        if grid.shape[1] == 1:  # and at least two axes
            places = torch.stack((places[..., 0], torch.zeros_like(places[..., 0])), dim=-1)[:, None]
            values = values[:, None]
        values = values.expand(grid.shape[0], *values.shape)
        found = F.grid_sample(values, places, padding_mode="border", align_corners=self.align_corners)
        return found.view(grid.shape[0], -1, *grid.shape[2:]) if grid.shape[1] == 1 else found

    def extra_repr(self) -> str:
        """Return the shape of the grid."""
        own = f"{self.values.shape[0]}, {tuple(self.values.shape[1:])}"
        return ", ".join(filter(None, (own, super().extra_repr())))


class ConstantCoordinates(Encoding):
    """Ones in place of coordinates: a control with the same weights that cannot know where it is."""

    def num_channels(self, num_axes: int) -> int:
        """Return n."""
        return num_axes

    def forward(self, grid: Tensor) -> Tensor:
        """Return ones of the grid's shape (F, n, *sizes)."""
        return torch.ones_like(grid)


FINITE = (Cartesian, Polar, FourierFeatures, Sinusoidal, ConstantCoordinates)
"""Encodings that are finite wherever the grid is: looking at their values would only cost time."""
OPTIONS: dict[type[Encoding], tuple[str, ...]] = {
    Cartesian: ("with_r",),
    FourierFeatures: ("num_frequencies", "include_coordinates"),
    Sinusoidal: ("num_frequencies", "temperature"),
    Encoding: ("align_corners", "preserve_aspect"),
}
"""Options of the encodings of this module, which their texts begin with."""
