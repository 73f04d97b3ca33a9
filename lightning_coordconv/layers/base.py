"""What all CoordConv layers share: a weight for the coordinates of the input's cells.

Source: Liu et al., "An Intriguing Failing of Convolutional Neural Networks and the CoordConv Solution" (2018),
section 3. The paper concatenates coordinate channels to the input. A convolution is linear in its input, so the
same function is ``conv(x, weight) + conv(coords, coord_weight) + bias``, whose second term depends on the size of the
map only: it is computed once for a batch, and no concatenation is ever built. The layers therefore *are* the torch
layers, with the same ``weight`` and ``bias``, and one more parameter.
"""

import math
from typing import Any, cast

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from lightning_coordconv.layers.coords import check_input, num_coordinates
from lightning_coordconv.layers.encodings import Encoding
from lightning_coordconv.layers.pointwise import is_small_product, pointwise_product
from lightning_coordconv.layers.response import add_response, position_bias, shares_bias_gradient


class CoordConvNd(_ConvNd):
    """What the six layers share; mixed in before a torch convolution.

    It takes the arguments of the torch class, in the same order and under the same names, and two keyword-only ones
    of its own.

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

    Raises:
        TypeError: If the encoding is no :class:`Encoding`.
        ValueError: If both ``with_r`` and an encoding are given.
    """

    coord_weight: Tensor
    with_r: bool
    encoding: Encoding | None

    def __init__(self, *args: Any, with_r: bool = False, encoding: Encoding | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.add_coordinates(with_r=with_r, encoding=encoding)
        self.reset_parameters()

    def add_coordinates(self, *, with_r: bool, encoding: Encoding | None) -> None:
        """Give this layer coordinate weights, all zero. Called once, by the constructor or by a conversion."""
        d = num_coordinates(len(self.kernel_size), with_r, encoding)
        channels = (d, self.out_channels) if self.transposed else (self.out_channels, d)
        self.with_r = with_r
        self.encoding = encoding
        self.coord_weight = nn.Parameter(self.weight.new_zeros((*channels, *self.kernel_size)))

    def reset_parameters(self) -> None:
        """Draw all parameters as a convolution over the concatenation would: the coordinates count as inputs.

        That is U(-b, b) with b = 1 / sqrt(fan_in) for weights and bias alike, as in ``nn.Conv2d``. For transposed
        layers torch counts the output channels of a group instead of inputs, and so do we.
        """
        if "coord_weight" not in self._parameters:
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
            What the torch class returns, plus the coordinates' part.

        Raises:
            TypeError: If the input is not floating-point.
            ValueError: If the input has the wrong number of dimensions.
        """
        n = len(self.kernel_size)
        check_input(input, n, type(self).__name__)
        sizes = input.shape[-n:]
        # A product rounds otherwise than a convolution: not where a converted layer is to return just what it did.
        if is_small_product(self, input) and self.coord_weight.any():
            return pointwise_product(input, self.weight, position_bias(input, self, sizes))
        if shares_bias_gradient(self, input):
            bias = cast(Tensor, self.bias)
            return add_response(self._conv_forward(input, self.weight, bias.detach()), self, sizes, bias=bias)
        return add_response(super().forward(input), self, sizes)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load this layer's parameters, also from two other kinds of checkpoint, with ``strict=True``.

        - A plain convolution's: the coordinate weights become zeros, so the layer computes what that one did.
        - That of a convolution over a concatenation, whose weight has ``in_channels + d`` inputs: it is split. The
          coordinates are taken to come after the input, in dimension order, with the radius last.
        """
        weight = state_dict.get(prefix + "weight")
        if isinstance(weight, Tensor) and prefix + "coord_weight" not in state_dict:
            axis = 0 if self.transposed else 1
            concat_shape = list(self.weight.shape)
            concat_shape[axis] += self.coord_weight.shape[axis]
            if weight.shape == self.weight.shape:
                state_dict = state_dict | {prefix + "coord_weight": weight.new_zeros(self.coord_weight.shape)}
            elif list(weight.shape) == concat_shape and self.groups == 1:
                own = weight.narrow(axis, 0, self.in_channels)
                coord = weight.narrow(axis, self.in_channels, self.coord_weight.shape[axis])
                parts = {prefix + "weight": own.contiguous(), prefix + "coord_weight": coord.contiguous()}
                state_dict = state_dict | parts
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """Return what the torch class does, and ``with_r``."""
        torch_repr: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return torch_repr + (", with_r=True" if self.with_r else "")


class CoordConvTransposeNd(CoordConvNd, _ConvTransposeNd):
    """What the transposed layers share besides: the coordinates are those of the *input's* cells."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolve the input and the coordinates of its cells.

        Args:
            input: ``(B, in_channels, *sizes)`` or ``(in_channels, *sizes)``.
            output_size: The wanted size of the output, where the stride leaves a choice.

        Returns:
            What the torch class returns, plus the coordinates' part.

        Raises:
            TypeError: If the input is not floating-point.
            ValueError: If the input has the wrong number of dimensions, or the output can't have the wanted size.
        """
        n = len(self.kernel_size)
        check_input(input, n, type(self).__name__)
        geometry = (self.stride, self.padding, self.kernel_size, n, self.dilation)
        padding = self._output_padding(input, output_size, *geometry)  # type: ignore[arg-type]  # torch passes tuples too
        out = super(CoordConvNd, self).forward(input, output_size)
        return add_response(out, self, input.shape[-n:], padding)
