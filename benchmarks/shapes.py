"""The convolutions, with the sizes of their inputs, that the measurements of the layers share."""

from typing import NamedTuple


class Shape(NamedTuple):
    """One convolution and its input."""

    batch: int
    in_channels: int
    height: int
    width: int
    out_channels: int
    kernel: int
    stride: int

    def __str__(self) -> str:
        return ",".join(map(str, self))


SHAPES = [
    Shape(32, 3, 64, 64, 64, 7, 2),
    Shape(4, 3, 224, 224, 64, 7, 2),
    Shape(16, 64, 56, 56, 64, 3, 1),
    Shape(16, 64, 56, 56, 128, 3, 2),
    Shape(8, 256, 28, 28, 256, 3, 1),
    Shape(8, 256, 28, 28, 256, 1, 1),
    Shape(32, 4, 84, 84, 32, 8, 4),
    Shape(1, 4, 84, 84, 32, 8, 4),
    Shape(32, 1, 64, 64, 8, 1, 1),
]
ONE_CHANNEL = SHAPES[8]
"""A toy shape whose convolution is so cheap that its ratios say little; the means are given with and without it."""
TINY = Shape(2, 8, 8, 8, 8, 3, 1)
"""A map whose convolution takes less time than calling it does."""
QUICK = [SHAPES[0], SHAPES[7], SHAPES[8]]
