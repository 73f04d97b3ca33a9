"""Small networks of the position benchmark: images to maps, images to points, and signals to classes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_coordconv.core.arguments import check_at_least
from lightning_coordconv.core.checked import CheckedArguments


class DenseNet2d(CheckedArguments, nn.Module):
    """Dilated 3x3 convolutions that keep the size of the map, and a 1x1 convolution: an output for each pixel.

    Args:
        channels: of the image.
        outputs: channels of the result.
        width: channels in between.
        dilations: of the 3x3 convolutions.
        stride: of the first convolution; the result is then enlarged bilinearly.
    """

    def __init__(
        self, channels: int, outputs: int, width: int = 16, dilations: Sequence[int] = (1, 2, 4), stride: int = 1
    ) -> None:
        super().__init__()
        check_at_least(1, channels=channels, outputs=outputs, width=width, stride=stride)
        layers: list[nn.Module] = []
        for number, dilation in enumerate(dilations):
            step = stride if number == 0 else 1
            source = channels if number == 0 else width
            layers += [nn.Conv2d(source, width, 3, step, dilation, dilation), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Conv2d(width, outputs, 1)
        self.stride = stride
        self.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor) -> Tensor:
        """Map images (B, C, H, W) to (B, outputs, H, W)."""
        out: Tensor = self.head(self.body(image))
        return out if self.stride == 1 else F.interpolate(out, image.shape[-2:], mode="bilinear", align_corners=False)


class SoftArgmax2d(nn.Module):
    """The expected position under a softmax over a map of one channel: "spatial softmax" (Finn et al., 2016)."""

    def forward(self, heat: Tensor) -> Tensor:
        """Map logits (B, 1, h, w) to positions (B, 2): x and y, scaled such that the map spans -1 to 1."""
        height, width = heat.shape[-2:]
        share = heat.flatten(1).softmax(1).view(-1, height, width)
        rows, columns = (torch.arange(n, device=heat.device) * 2 / n + 1 / n - 1 for n in (height, width))
        return torch.stack([share.sum(1) @ columns, share.sum(2) @ rows], dim=1)


class HeatMapRegressor(CheckedArguments, nn.Sequential):
    """Three convolutions that make one heat map at half of the resolution, and a spatial softmax.

    Args:
        channels: of the image.
    """

    def __init__(self, channels: int) -> None:
        check_at_least(1, channels=channels)
        super().__init__(
            nn.Conv2d(channels, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=2, dilation=2),
            nn.ReLU(),
            nn.Conv2d(32, 1, 3, padding=2, dilation=2),
            SoftArgmax2d(),
        )
        self.to(memory_format=torch.channels_last)


class SignalClassifier(CheckedArguments, nn.Sequential):
    """Three strided convolutions over time, a global maximum and a linear layer.

    Args:
        channels: of the signal.
        num_classes: number of outputs.
        as_rows: whether signals are images of one row, (B, C, 1, T), in place of (B, C, T).
    """

    def __init__(self, channels: int, num_classes: int, as_rows: bool = False) -> None:
        check_at_least(1, channels=channels, num_classes=num_classes)

        def conv(source: int, target: int) -> nn.Module:
            if as_rows:
                return nn.Conv2d(source, target, (1, 5), stride=(1, 2), padding=(0, 2))
            return nn.Conv1d(source, target, 5, stride=2, padding=2)

        pool = nn.AdaptiveMaxPool2d(1) if as_rows else nn.AdaptiveMaxPool1d(1)
        super().__init__(
            conv(channels, 16), nn.ReLU(), conv(16, 32), nn.ReLU(), conv(32, 64), nn.ReLU(),
            pool, nn.Flatten(), nn.Linear(64, num_classes),
        )  # fmt: skip
