"""CoordConv layers: torch's convolutions under torch's signatures, which also see where they are."""

from typing import Literal, TypeAlias

import torch
from torch import nn
from torch.nn.common_types import _size_1_t, _size_2_t, _size_3_t

from lightning_coordconv.layers.base import CoordConvNd, CoordConvTransposeNd
from lightning_coordconv.layers.encodings import Encoding

PaddingMode: TypeAlias = Literal["zeros", "reflect", "replicate", "circular"]
Device: TypeAlias = torch.device | str | int | None


class CoordConv1d(CoordConvNd, nn.Conv1d):
    """An ``nn.Conv1d`` that also sees where it is; see :class:`CoordConvNd`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _size_1_t,
        stride: _size_1_t = 1,
        padding: str | _size_1_t = 0,
        dilation: _size_1_t = 1,
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
    """An ``nn.Conv2d`` that also sees where it is; see :class:`CoordConvNd`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _size_2_t,
        stride: _size_2_t = 1,
        padding: str | _size_2_t = 0,
        dilation: _size_2_t = 1,
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
    """An ``nn.Conv3d`` that also sees where it is; see :class:`CoordConvNd`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _size_3_t,
        stride: _size_3_t = 1,
        padding: str | _size_3_t = 0,
        dilation: _size_3_t = 1,
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
    """An ``nn.ConvTranspose1d`` that also sees where it is; see :class:`CoordConvNd`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _size_1_t,
        stride: _size_1_t = 1,
        padding: _size_1_t = 0,
        output_padding: _size_1_t = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: _size_1_t = 1,
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
    """An ``nn.ConvTranspose2d`` that also sees where it is; see :class:`CoordConvNd`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _size_2_t,
        stride: _size_2_t = 1,
        padding: _size_2_t = 0,
        output_padding: _size_2_t = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: _size_2_t = 1,
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
    """An ``nn.ConvTranspose3d`` that also sees where it is; see :class:`CoordConvNd`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _size_3_t,
        stride: _size_3_t = 1,
        padding: _size_3_t = 0,
        output_padding: _size_3_t = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: _size_3_t = 1,
        padding_mode: PaddingMode = "zeros",
        device: Device = None,
        dtype: torch.dtype | None = None,
        *,
        with_r: bool = False,
        encoding: Encoding | None = None,
    ) -> None:
        args = (in_channels, out_channels, kernel_size, stride, padding, output_padding, groups, bias, dilation)
        super().__init__(*args, padding_mode, device, dtype, with_r=with_r, encoding=encoding)
