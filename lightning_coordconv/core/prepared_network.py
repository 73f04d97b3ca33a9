"""Class of a network with the normalisation of its images, as it is exported."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class PreparedNetwork(nn.Module):
    """A network that normalises images in [0, 1] itself.

    Args:
        net: maps normalised images to outputs.
        normalise: normalises images.
        finish: makes of the outputs what is exported.
    """

    def __init__(self, net: nn.Module, normalise: Callable[[Tensor], Tensor], finish: Callable[[Any], Any]) -> None:
        super().__init__()
        self.net = net
        self.normalise = normalise
        self.finish = finish
        self.eval()

    def forward(self, image: Tensor) -> Any:
        """Map images (B, C, H, W) in [0, 1] to outputs."""
        return self.finish(self.net(self.normalise(image)))
