"""Public API: CoordConv layers, encodings, coordinate frames, cache limits, functions that convert, fold and fuse."""

from lightning_coordconv.layers.add_coords import AddCoords
from lightning_coordconv.layers.cache import clear_coordinate_cache, limit_coordinate_cache
from lightning_coordconv.layers.conv import (
    CoordConv1d,
    CoordConv2d,
    CoordConv3d,
    CoordConvTranspose1d,
    CoordConvTranspose2d,
    CoordConvTranspose3d,
)
from lightning_coordconv.layers.convert import coordconv_layers, from_coordconv, to_coordconv
from lightning_coordconv.layers.encodings import (
    Cartesian,
    ConstantCoordinates,
    Encoding,
    FourierFeatures,
    LearnedGrid,
    Polar,
    Sinusoidal,
)
from lightning_coordconv.layers.fold import fold_coordconv
from lightning_coordconv.layers.frames import coordinate_field, coordinate_frame
from lightning_coordconv.layers.fuse import fuse_conv_bn
from lightning_coordconv.layers.tiled import TiledCoordConv2d

__all__ = [
    "AddCoords",
    "Cartesian",
    "ConstantCoordinates",
    "CoordConv1d",
    "CoordConv2d",
    "CoordConv3d",
    "CoordConvTranspose1d",
    "CoordConvTranspose2d",
    "CoordConvTranspose3d",
    "Encoding",
    "FourierFeatures",
    "LearnedGrid",
    "Polar",
    "Sinusoidal",
    "TiledCoordConv2d",
    "clear_coordinate_cache",
    "coordconv_layers",
    "coordinate_field",
    "coordinate_frame",
    "fold_coordconv",
    "from_coordconv",
    "fuse_conv_bn",
    "limit_coordinate_cache",
    "to_coordconv",
]
