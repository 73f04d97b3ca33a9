"""Regressor networks that map an image to the position of its object, and TensorFlow's "same" padding for them."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_coordconv.core.arguments import check_at_least
from lightning_coordconv.core.checked import CheckedArguments
from lightning_coordconv.core.description import remember_arguments
from lightning_coordconv.core.initialisation import he_normal_
from lightning_coordconv.layers import CoordConv2d


class SamePad2d(nn.Module):
    """Zero padding of TensorFlow's "same" convolutions, whose output has ceil(size / stride) rows and columns.

    It is the least padding that gives this size; of an odd number, the smaller half is in front.

    Args:
        kernel_size: kernel size of the convolution that follows.
        stride: stride of the convolution that follows.
    """

    def __init__(self, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride

    def forward(self, image: Tensor) -> Tensor:
        """Pad images (B, C, H, W)."""
        padding: list[int] = []
        for size in reversed(image.shape[-2:]):
            total = max((size - 1) // self.stride * self.stride + self.kernel_size - size, 0)
            padding += [total // 2, total - total // 2]
        return F.pad(image, padding)


@remember_arguments
class CoordConvRegressor(nn.Sequential):
    """The paper's regressor (section 4.2): five convolutions, no activation anywhere, a global max pool; 906 weights.

    Training it often fails: the authors call it "finicky". See configs/README.md for how often it succeeds.
    """

    def __init__(self) -> None:
        super().__init__(
            CoordConv2d(1, 8, 1),
            nn.Conv2d(8, 8, 1),
            nn.Conv2d(8, 8, 1),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.Conv2d(8, 2, 3, padding=1),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
        )
        he_normal_(self)
        self.to(memory_format=torch.channels_last)  # almost twice as fast on a CPU


@remember_arguments
class CoordConvMaxRegressor(CheckedArguments, nn.Module):
    """A 1x1 CoordConv, a global max pool and a dense layer; 194 weights. The default regressor.

    The network takes the maximum over the canvas of several linear functions of (pixel, i, j). This maximum is its only
    nonlinearity, as in the paper's regressor, but no layer stands between it and the coordinates. It is not in the
    paper; unlike the paper's regressor it learned from every seed that was tried.

    Args:
        features: number of linear functions.
        gain: factor on the input. An image with one pixel in 64 x 64 has a standard deviation of 1/64; a gain of 64
            makes it 1, comparable to coordinates in [-1, 1].

    Raises:
        ValueError: for ``features`` below 1.
    """

    def __init__(self, features: int = 32, gain: float = 64.0) -> None:
        super().__init__()
        check_at_least(1, features=features)
        self.gain = gain
        self.features = CoordConv2d(1, features, 1)
        self.position = nn.Linear(features, 2)
        he_normal_(self)

    def forward(self, image: Tensor) -> Tensor:
        """Map images (B, 1, H, W) to positions (B, 2)."""
        features = self.features(self.gain * image)
        return self.position(F.adaptive_max_pool2d(features, 1).flatten(1))


@remember_arguments
class PoolingRegressor(CheckedArguments, nn.Sequential):
    """The paper's convolutional regressor for the uniform split: four 3x3 convolutions, pooling, two dense layers.

    72,850 weights for ``mul=1``, 159,330 for ``mul=2``.

    Args:
        mul: channel multiplier.
        canvas: height and width of the input in pixels, divisible by 8.

    Raises:
        ValueError: for a canvas that is not divisible by 8, and ``mul`` below 1.
    """

    def __init__(self, mul: int = 1, canvas: int = 64) -> None:
        check_at_least(1, mul=mul, canvas=canvas)
        if canvas % 8:
            raise ValueError(f"canvas must be divisible by 8, got {canvas}")
        width = 16 * mul
        layers: list[nn.Module] = []
        for channels in (1, width, width):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        super().__init__(
            *layers,
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(width * (canvas // 8) ** 2, 64),
            nn.ReLU(),
            nn.Linear(64, 2),
        )
        he_normal_(self)
        self.to(memory_format=torch.channels_last)  # almost twice as fast on a CPU
        self.canvas = canvas

    def forward(self, image: Tensor) -> Tensor:
        """Map images (B, 1, H, W) to positions (B, 2).

        Raises:
            ValueError: for images of another size than ``canvas``.
        """
        height, width = image.shape[-2:]
        if (height, width) != (self.canvas, self.canvas):
            raise ValueError(
                f"expected images of {self.canvas} x {self.canvas} pixels, got {height} x {width}: "
                "give net and data the same canvas"
            )
        return super().forward(image)  # type: ignore[no-untyped-call]


@remember_arguments
class StridedRegressor(CheckedArguments, nn.Sequential):
    """The paper's convolutional regressor for the quadrant split: nine convolutions, five strided, no dense layer.

    12,914 weights for ``mul=1``, 49,890 for ``mul=2``. A global average follows the last ReLU.

    Args:
        mul: channel multiplier.

    Raises:
        ValueError: for ``mul`` below 1.
    """

    def __init__(self, mul: int = 1) -> None:
        check_at_least(1, mul=mul)
        width = 16 * mul

        def conv(channels: int, kernel_size: int, stride: int = 1) -> list[nn.Module]:
            return [SamePad2d(kernel_size, stride), nn.Conv2d(channels, width, kernel_size, stride)]

        super().__init__(
            *conv(1, 5, 2),
            nn.ReLU(),
            *conv(width, 1),
            nn.ReLU(),
            nn.BatchNorm2d(width),
            *conv(width, 3),
            nn.ReLU(),
            *conv(width, 3, 2),
            nn.ReLU(),
            *conv(width, 3, 2),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            *conv(width, 3, 2),
            nn.ReLU(),
            *conv(width, 1),
            nn.ReLU(),
            *conv(width, 3, 2),
            nn.ReLU(),
            nn.Conv2d(width, 2, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        he_normal_(self)
