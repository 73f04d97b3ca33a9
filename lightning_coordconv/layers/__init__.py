"""Layers that see where they are. Knows only torch."""

from lightning_coordconv.layers.conv import (
    CoordConv1d,
    CoordConv2d,
    CoordConv3d,
    CoordConvTranspose1d,
    CoordConvTranspose2d,
    CoordConvTranspose3d,
)
from lightning_coordconv.layers.coords import AddCoords
from lightning_coordconv.layers.encodings import Cartesian, Encoding, FourierFeatures, Polar

__all__ = [
    "AddCoords",
    "Cartesian",
    "CoordConv1d",
    "CoordConv2d",
    "CoordConv3d",
    "CoordConvTranspose1d",
    "CoordConvTranspose2d",
    "CoordConvTranspose3d",
    "Encoding",
    "FourierFeatures",
    "Polar",
]
