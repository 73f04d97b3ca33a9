"""The six CoordConv layers: torch's convolutions in 1 to 3 dimensions, plain and transposed, with coordinates.

The six signatures are written out, so that editors and type checkers show the arguments of each torch class.
"""

from typing import Literal, TypeAlias

import torch
from torch import nn

from lightning_coordconv.layers._torch import Size1, Size2, Size3
from lightning_coordconv.layers.base import CoordConvNd, CoordConvTransposeNd
from lightning_coordconv.layers.encodings import Encoding

PaddingMode: TypeAlias = Literal["zeros", "reflect", "replicate", "circular"]
Device: TypeAlias = torch.device | str | int | None


class CoordConv1d(CoordConvNd, nn.Conv1d):
    """An ``nn.Conv1d`` that also sees the coordinates of its input; see :class:`CoordConvNd`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size1,
        stride: Size1 = 1,
        padding: str | Size1 = 0,
        dilation: Size1 = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        device: Device = None,
        dtype: torch.dtype | None = None,
        *,
        with_r: bool = False,
        encoding: Encoding | None = None,
    ) -> None:
        args = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        super().__init__(*args, device, dtype, with_r=with_r, encoding=encoding)


class CoordConv2d(CoordConvNd, nn.Conv2d):
    """An ``nn.Conv2d`` that also sees the coordinates of its input; see :class:`CoordConvNd`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size2,
        stride: Size2 = 1,
        padding: str | Size2 = 0,
        dilation: Size2 = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        device: Device = None,
        dtype: torch.dtype | None = None,
        *,
        with_r: bool = False,
        encoding: Encoding | None = None,
    ) -> None:
        args = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        super().__init__(*args, device, dtype, with_r=with_r, encoding=encoding)


class CoordConv3d(CoordConvNd, nn.Conv3d):
    """An ``nn.Conv3d`` that also sees the coordinates of its input; see :class:`CoordConvNd`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size3,
        stride: Size3 = 1,
        padding: str | Size3 = 0,
        dilation: Size3 = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        device: Device = None,
        dtype: torch.dtype | None = None,
        *,
        with_r: bool = False,
        encoding: Encoding | None = None,
    ) -> None:
        args = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        super().__init__(*args, device, dtype, with_r=with_r, encoding=encoding)


class CoordConvTranspose1d(CoordConvTransposeNd, nn.ConvTranspose1d):
    """An ``nn.ConvTranspose1d`` that also sees the coordinates of its input; see :class:`CoordConvNd`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size1,
        stride: Size1 = 1,
        padding: Size1 = 0,
        output_padding: Size1 = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size1 = 1,
        padding_mode: PaddingMode = "zeros",
        device: Device = None,
        dtype: torch.dtype | None = None,
        *,
        with_r: bool = False,
        encoding: Encoding | None = None,
    ) -> None:
        args = (in_channels, out_channels, kernel_size, stride, padding, output_padding, groups, bias, dilation)
        super().__init__(*args, padding_mode, device, dtype, with_r=with_r, encoding=encoding)


class CoordConvTranspose2d(CoordConvTransposeNd, nn.ConvTranspose2d):
    """An ``nn.ConvTranspose2d`` that also sees the coordinates of its input; see :class:`CoordConvNd`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size2,
        stride: Size2 = 1,
        padding: Size2 = 0,
        output_padding: Size2 = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size2 = 1,
        padding_mode: PaddingMode = "zeros",
        device: Device = None,
        dtype: torch.dtype | None = None,
        *,
        with_r: bool = False,
        encoding: Encoding | None = None,
    ) -> None:
        args = (in_channels, out_channels, kernel_size, stride, padding, output_padding, groups, bias, dilation)
        super().__init__(*args, padding_mode, device, dtype, with_r=with_r, encoding=encoding)


class CoordConvTranspose3d(CoordConvTransposeNd, nn.ConvTranspose3d):
    """An ``nn.ConvTranspose3d`` that also sees the coordinates of its input; see :class:`CoordConvNd`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size3,
        stride: Size3 = 1,
        padding: Size3 = 0,
        output_padding: Size3 = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size3 = 1,
        padding_mode: PaddingMode = "zeros",
        device: Device = None,
        dtype: torch.dtype | None = None,
        *,
        with_r: bool = False,
        encoding: Encoding | None = None,
    ) -> None:
        args = (in_channels, out_channels, kernel_size, stride, padding, output_padding, groups, bias, dilation)
        super().__init__(*args, padding_mode, device, dtype, with_r=with_r, encoding=encoding)
