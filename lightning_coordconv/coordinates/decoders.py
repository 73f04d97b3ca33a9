"""Decoders from a position to an image (CoordConv, transposed convolutions, upsampling), and the paper's renderer."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lightning_coordconv.core.arguments import check_at_least
from lightning_coordconv.core.checked import CheckedArguments
from lightning_coordconv.core.description import remember_arguments
from lightning_coordconv.core.initialisation import he_normal_
from lightning_coordconv.layers import (
    ConstantCoordinates,
    CoordConv2d,
    CoordConvTranspose2d,
    TiledCoordConv2d,
)


class DoublingDecoder(CheckedArguments, nn.Module):
    """Base class of decoders whose layers each double the size of the map, from 1x1 to the canvas.

    For a canvas of 64 pixels there are six layers, of 64m, 64m, 64m, 32m, 32m and 1 channels, with batch norm and ReLU
    after all but the last.

    Args:
        make_layer: builds a layer that doubles the size, given its numbers of input and output channels.
        mul: channel multiplier m.
        canvas: height and width of the output in pixels.

    Raises:
        ValueError: for a canvas that is no power of two, or too small for the layers, and for ``mul`` below 1.
    """

    def __init__(self, make_layer: Callable[[int, int], nn.Module], mul: int, canvas: int) -> None:
        super().__init__()
        check_at_least(1, mul=mul, canvas=canvas)
        depth = canvas.bit_length() - 1
        if depth < 4 or canvas != 2**depth:
            raise ValueError(f"canvas must be a power of two, at least 16, got {canvas}")
        channels = [2] + [64 * mul] * (depth - 3) + [32 * mul] * 2 + [1]
        self.layers = nn.Sequential()
        for i in range(depth):
            self.layers.append(make_layer(channels[i], channels[i + 1]))
            if i < depth - 1:
                self.layers.extend([nn.BatchNorm2d(channels[i + 1]), nn.ReLU(inplace=True)])
        # not channels last, though faster: torch's batch norm over such maps is less exact on a CPU
        he_normal_(self)

    def forward(self, xy_scaled: Tensor) -> Tensor:
        """Map positions (B, 2) to logits (B, H, W)."""
        return self.layers(xy_scaled[:, :, None, None]).squeeze(1)


@remember_arguments
class DeconvDecoder(DoublingDecoder):
    """Transposed convolutions of stride 2: the paper's baseline (sections 4.1 and 4.3).

    46,465 weights for ``filter_size=2, mul=1`` to 1,632,001 for ``filter_size=4, mul=3``.

    Args:
        filter_size: kernel size, at least the stride; the paper tries 2, 3 and 4.
        mul: channel multiplier; the paper tries 1, 2 and 3.
        canvas: height and width of the output in pixels, a power of two.
        coordinates: make all layers CoordConvs; a control that is not in the paper.

    Raises:
        ValueError: for a kernel smaller than the stride, ``mul`` below 1, or a canvas that is no power of two.
    """

    def __init__(self, filter_size: int = 2, mul: int = 2, canvas: int = 64, coordinates: bool = False) -> None:
        check_at_least(2, filter_size=filter_size)  # the stride
        layer = CoordConvTranspose2d if coordinates else nn.ConvTranspose2d
        # TensorFlow's "same" crops filter_size - 2 rows and columns off the full output, the smaller half in front
        front, odd = divmod(filter_size - 2, 2)
        crop = nn.ZeroPad2d((0, -odd, 0, -odd)) if odd else nn.Identity()
        super().__init__(
            lambda i, o: nn.Sequential(layer(i, o, filter_size, stride=2, padding=front), crop), mul, canvas
        )


@remember_arguments
class UpsampleDecoder(DoublingDecoder):
    """Nearest-neighbour upsampling and convolutions: a control in the authors' code that is not in their paper.

    103,585 weights for ``filter_size=3, mul=1``, or 108,211 with coordinates.

    Args:
        filter_size: kernel size.
        mul: channel multiplier.
        canvas: height and width of the output in pixels, a power of two.
        coordinates: make the convolutions CoordConvs.

    Raises:
        ValueError: for ``filter_size`` or ``mul`` below 1, or a canvas that is no power of two.
    """

    def __init__(self, filter_size: int = 3, mul: int = 1, canvas: int = 64, coordinates: bool = False) -> None:
        check_at_least(1, filter_size=filter_size)
        layer = CoordConv2d if coordinates else nn.Conv2d
        super().__init__(
            lambda i, o: nn.Sequential(nn.Upsample(scale_factor=2), layer(i, o, filter_size, padding="same")),
            mul,
            canvas,
        )


@remember_arguments
class CoordConvDecoder(CheckedArguments, nn.Sequential):
    """The paper's decoder (section 4.1): the position tiled over the canvas, then 1x1 convolutions; 7,553 weights.

    Layers of 32m, 32m, 64m, 64m and 1 channels, ReLU after all but the last; the first is a CoordConv. The decoder is
    thus one small network of (x, y, i, j), evaluated at every pixel. The tiling is folded into the first layer.

    Args:
        mul: channel multiplier m.
        canvas: height and width of the output in pixels.
        coordinates: False replaces the coordinates by constants: a control whose output is the same at every pixel.

    Raises:
        ValueError: for ``mul`` or ``canvas`` below 1.
    """

    def __init__(self, mul: int = 1, canvas: int = 64, coordinates: bool = True) -> None:
        check_at_least(1, mul=mul, canvas=canvas)
        encoding = None if coordinates else ConstantCoordinates()
        super().__init__(
            TiledCoordConv2d(2, 32 * mul, canvas, encoding=encoding),
            nn.ReLU(inplace=True),
            nn.Conv2d(32 * mul, 32 * mul, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(32 * mul, 64 * mul, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(64 * mul, 64 * mul, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(64 * mul, 1, 1),
        )
        he_normal_(self)

    def forward(self, xy_scaled: Tensor) -> Tensor:
        """Map positions (B, 2) to logits (B, H, W)."""
        maps = xy_scaled
        for layer in self:
            maps = layer(maps)
        return maps.squeeze(1)


@remember_arguments
class CoordConvRenderer(CheckedArguments, nn.Module):
    """The paper's renderer (section 4.3): a decoder of one pixel, a softmax over the canvas, then small convolutions.

    The decoder is :class:`CoordConvDecoder`; the convolutions have 8m, 8m, 16m, 16m and 1 channels, ReLU after all but
    the last. 11,850 weights for ``filter_size=3, mul=1``. Five 3x3 layers see 11 pixels, enough for a square of 9.

    Args:
        filter_size: kernel size of the convolutions; the paper's grid contains 1, its example uses 3.
        mul: channel multiplier m of the convolutions.
        canvas: height and width of the output in pixels.
        gain: factor between the softmax and the convolutions. The paper has none, which is a factor of 1; but the
            probabilities start at 1/4096 everywhere, a weak input.
        coordinates: False replaces the coordinates by constants.

    Raises:
        ValueError: for ``filter_size``, ``mul`` or ``canvas`` below 1.
    """

    def __init__(
        self, filter_size: int = 3, mul: int = 1, canvas: int = 64, gain: float = 1.0, coordinates: bool = True
    ) -> None:
        super().__init__()
        check_at_least(1, filter_size=filter_size, mul=mul)
        self.gain = gain
        self.locate = CoordConvDecoder(canvas=canvas, coordinates=coordinates)
        self.draw = nn.Sequential()
        channels = [1, 8 * mul, 8 * mul, 16 * mul, 16 * mul, 1]
        for i in range(5):
            self.draw.append(nn.Conv2d(channels[i], channels[i + 1], filter_size, padding="same"))
            if i < 4:
                self.draw.append(nn.ReLU(inplace=True))
        he_normal_(self.draw)
        self.to(memory_format=torch.channels_last)  # a fifth faster on a CPU

    def forward(self, xy_scaled: Tensor) -> tuple[Tensor, Tensor]:
        """Map positions (B, 2) to logits (B, H, W) of the image, and those of the pixel at its centre."""
        centre = self.locate(xy_scaled)
        probability = centre.flatten(1).softmax(1).view_as(centre)
        return self.draw(self.gain * probability[:, None]).squeeze(1), centre
