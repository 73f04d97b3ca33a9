"""Convolution that knows where it is: CoordConv layers and the experiments they were made for, on PyTorch Lightning."""

from lightning_coordconv.layers import (
    AddCoords,
    CoordConv1d,
    CoordConv2d,
    CoordConv3d,
    CoordConvTranspose1d,
    CoordConvTranspose2d,
    CoordConvTranspose3d,
    coordconv_layers,
    coordinate_field,
    coordinate_frame,
    fold_coordconv,
    from_coordconv,
    to_coordconv,
)

__version__ = "0.1.0"

__all__ = [
    "AddCoords",
    "CoordConv1d",
    "CoordConv2d",
    "CoordConv3d",
    "CoordConvTranspose1d",
    "CoordConvTranspose2d",
    "CoordConvTranspose3d",
    "coordconv_layers",
    "coordinate_field",
    "coordinate_frame",
    "fold_coordconv",
    "from_coordconv",
    "to_coordconv",
]
