"""Base classes of all CoordConv layers: a convolution with a second weight, for the coordinates of its input.

Source: Liu et al., "An Intriguing Failing of Convolutional Neural Networks and the CoordConv Solution" (2018),
section 3. The paper concatenates coordinate channels to the input. A convolution is linear in its input, so the
same function is ``conv(x, weight) + conv(coords, coord_weight) + bias``. The second term, the coordinate bias, depends
on the size of the map only: it is computed once for a batch, and no concatenation is built. The layers therefore *are*
the torch layers, with the same ``weight`` and ``bias``, and one more parameter.
"""

import inspect
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_coordconv.layers._torch import ConvTransposeNd, RecordsCoordinates, TorchConvolution, output_padding
from lightning_coordconv.layers.arguments import check_convolution
from lightning_coordconv.layers.coordinate_bias import convolve_with_coordinates
from lightning_coordconv.layers.coords import check_input, describe_coordinates, num_coordinates
from lightning_coordconv.layers.encodings import Encoding
from lightning_coordconv.layers.frames import active_frame
from lightning_coordconv.layers.guards import GuardedModule
from lightning_coordconv.layers.recomputation import SeesFrames
from lightning_coordconv.layers.tracing import is_traced_symbolically, trace_as_leaf

_CLASSES = {1: (nn.Conv1d, nn.ConvTranspose1d), 2: (nn.Conv2d, nn.ConvTranspose2d), 3: (nn.Conv3d, nn.ConvTranspose3d)}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


class MetaCoordWeight(nn.Parameter):
    """Coordinate weights on the meta device, which become zeros, not uninitialised memory, on a real device.

    Loaders that build a model on the meta device (``Module.to_empty``, transformers' ``from_pretrained``) replace a
    parameter that no checkpoint holds by ``torch.empty_like`` of it.
    """

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace ``empty_like`` by ``zeros_like``."""
        func = torch.zeros_like if func is torch.empty_like else func
        return nn.Parameter.__torch_function__(func, types, args, kwargs or {})


class CoordConvNd(GuardedModule, SeesFrames, RecordsCoordinates, TorchConvolution):
    """What the six layers share; mixed in before a torch convolution.

    It takes the arguments of the torch class, in the same order and under the same names, and two more, by keyword.

    Args:
        *args: As for the torch class.
        with_r: Also give the layer r = sqrt(i^2 + j^2 + ...) of the scaled coordinates.
        encoding: What the layer sees instead of the plain coordinates, e.g. ``FourierFeatures()``, or the plain ones
            in another convention, e.g. ``Cartesian(align_corners=False)``.
        **kwargs: As for the torch class.

    Attributes:
        weight: As in the torch class.
        coord_weight: ``(out_channels, d, *kernel_size)``, or ``(d, out_channels, *kernel_size)`` in transposed
            layers, where d is the number of coordinate channels. Every output channel sees every coordinate,
            whatever its group.
        bias: As in the torch class.
        same_pad: Whether the layer also pads as TensorFlow's "SAME" does, by an amount that depends on the size of the
            input. Only layers converted from timm's classes do.
        separates_bias: Whether the convolution can be computed with another bias. Not in layers converted from classes
            with another ``forward``.

    Raises:
        TypeError: If an argument is of another type, or the dtype is none of real or complex floating-point numbers.
        ValueError: If an argument is out of its range, or both ``with_r`` and an encoding are given.
    """

    coord_weight: Tensor
    with_r: bool
    encoding: Encoding | None
    same_pad: bool = False
    separates_bias: bool = True

    def __init__(self, *args: Any, with_r: bool = False, encoding: Encoding | None = None, **kwargs: Any) -> None:
        given = inspect.signature(super().__init__).bind(*args, **kwargs).arguments
        num_axes = next(n for n, kinds in _CLASSES.items() if isinstance(self, kinds))
        check_convolution(given, num_axes, isinstance(self, ConvTransposeNd))
        super().__init__(*args, **kwargs)
        self.add_coordinates(with_r=with_r, encoding=encoding)
        self.reset_parameters()

    def add_coordinates(self, *, with_r: bool, encoding: Encoding | None) -> None:
        """Give this layer coordinate weights, all zero. Called once, by the constructor or by a conversion."""
        d = num_coordinates(len(self.kernel_size), with_r, encoding)
        channels = (d, self.out_channels) if self.transposed else (self.out_channels, d)
        self.with_r = with_r
        self.encoding = encoding
        zeros = self.weight.new_zeros((*channels, *self.kernel_size))
        self.coord_weight = MetaCoordWeight(zeros) if zeros.is_meta else nn.Parameter(zeros)

    def reset_parameters(self) -> None:
        """Draw all parameters as a convolution over the concatenation would: the coordinates count as inputs.

        That is U(-b, b) with b = 1 / sqrt(fan_in) for weights and bias alike, as in ``nn.Conv2d``. For transposed
        layers torch counts the output channels of a group instead of inputs, and so does this method.
        """
        if not hasattr(self, "coord_weight"):
            return  # the torch constructor calls this before there are coordinate weights; ours calls it again
        channels = self.weight.shape[1] + (0 if self.transposed else self.coord_weight.shape[1])
        bound = 1 / math.sqrt(channels * math.prod(self.kernel_size))
        for parameter in (self.weight, self.coord_weight, self.bias):
            if parameter is not None:
                nn.init.uniform_(parameter, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve the input and the coordinates of its cells.

        Args:
            input: ``(B, in_channels, *sizes)`` or ``(in_channels, *sizes)``.

        Returns:
            What the torch class returns, plus the coordinate bias.

        Raises:
            TypeError: If the input is not floating-point.
            ValueError: If the input has the wrong number of dimensions.
        """
        if type(input) is not Tensor and is_traced_symbolically(input):
            return trace_as_leaf(self, input)
        check_input(input, len(self.kernel_size), type(self).__name__)
        return convolve_with_coordinates(self, input)

    def describe_coordinates(self) -> str:
        """Return the class and the options of the coordinates, which state dicts record."""
        return describe_coordinates(self.with_r, self.encoding)

    def complete_state_dict(self, state_dict: dict[str, Any], prefix: str) -> dict[str, Any]:
        """Complete a state dict without coordinate weights, so that it loads with ``strict=True``.

        - That of a plain convolution: the coordinate weights become zeros, so the layer computes what that one did.
          Its weight may be parametrized, pruned or normalised, as the layer's own weight must be then.
        - That of a convolution over a concatenation, whose weight has ``in_channels + d`` inputs: it is split. The
          coordinates are taken to come after the input, in dimension order, with the radius last.
        """
        coord_weight = dict(self.named_parameters(recurse=False)).get("coord_weight")
        entries = [
            key for key in state_dict if key.startswith((prefix + "weight", prefix + "parametrizations.weight."))
        ]
        if coord_weight is None or prefix + "coord_weight" in state_dict or not entries:
            return state_dict
        weight = state_dict.get(prefix + "weight")
        if isinstance(weight, Tensor) and weight.shape != self.weight.shape:
            axis = 0 if self.transposed else 1
            concat_shape = list(self.weight.shape)
            concat_shape[axis] += coord_weight.shape[axis]
            if list(weight.shape) != concat_shape or self.groups != 1:
                return state_dict
            own = weight.narrow(axis, 0, self.in_channels).contiguous()
            coord = weight.narrow(axis, self.in_channels, coord_weight.shape[axis]).contiguous()
            return state_dict | {prefix + "weight": own, prefix + "coord_weight": coord}
        tensors = [state_dict[key] for key in entries if isinstance(state_dict[key], Tensor)]
        like = next((tensor for tensor in tensors if tensor.is_floating_point()), coord_weight)
        return state_dict | {prefix + "coord_weight": like.new_zeros(coord_weight.shape)}

    def check_replication(self) -> None:
        """Refuse ``DataParallel`` within a coordinate frame, which its threads do not see.

        Raises:
            RuntimeError: If a frame is active.
        """
        if active_frame() is not None:
            raise RuntimeError(
                "DataParallel runs the model in other threads, which do not see the coordinate frame of this one; use "
                "DistributedDataParallel, or enter the frame in the forward method of a module inside DataParallel"
            )

    def extra_repr(self) -> str:
        """Return what the torch class does, and ``with_r``."""
        torch_repr: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return torch_repr + (", with_r=True" if self.with_r else "")


class CoordConvTransposeNd(CoordConvNd, ConvTransposeNd):
    """What the transposed layers share besides: the coordinates are those of the *input's* cells."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolve the input and the coordinates of its cells.

        Args:
            input: ``(B, in_channels, *sizes)`` or ``(in_channels, *sizes)``.
            output_size: The wanted size of the output, where the stride leaves a choice.

        Returns:
            What the torch class returns, plus the coordinate bias.

        Raises:
            TypeError: If the input is not floating-point.
            ValueError: If the input has the wrong number of dimensions, or the output cannot have the wanted size.
        """
        if type(input) is not Tensor and is_traced_symbolically(input):
            return trace_as_leaf(self, input, output_size)
        check_input(input, len(self.kernel_size), type(self).__name__)
        return convolve_with_coordinates(self, input, tuple(output_padding(self, input, output_size)))

    def convolve(self, input: Tensor, bias: Tensor | None, output_padding: Sequence[int] | None) -> Tensor:
        """Return what the torch class computes, with ``bias`` in place of the layer's bias."""
        args = (self.stride, self.padding, output_padding, self.groups, self.dilation)
        conv: Any = _CONV_TRANSPOSE[len(self.kernel_size)]
        out: Tensor = conv(input, self.weight, bias, *args)
        return out
