"""Network class of torchvision's segmentation networks, with a CoordConv layer first, in the head, or nowhere."""

from typing import Any, Literal, get_args

from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights

from lightning_coordconv.core.batch_norm import use_momentum_of_torch
from lightning_coordconv.core.checked import CheckedArguments
from lightning_coordconv.core.description import remember_arguments
from lightning_coordconv.layers import Encoding, to_coordconv

Name = Literal[
    "fcn_resnet50",
    "fcn_resnet101",
    "deeplabv3_resnet50",
    "deeplabv3_resnet101",
    "deeplabv3_mobilenet_v3_large",
    "lraspp_mobilenet_v3_large",
]
Coordinates = Literal["none", "first", "head"]
HEADS = {"fcn": "classifier.0", "deeplabv3": "classifier.1", "lraspp": "classifier.cbr.0"}
"""The first convolution of each network's head that sees the backbone's features, or all branches of them."""


@remember_arguments
class SegmentationNetwork(CheckedArguments, nn.Module):
    """One of torchvision's networks for semantic segmentation, with coordinates in one of its convolutions.

    Coordinate weights start at zero, so that a pretrained network begins as what it was. Batch norms of a network
    without pretrained weights have torch's momentum, 0.1; MobileNetV3's is 0.01 in torchvision.

    Args:
        name: torchvision's.
        num_classes: number of classes, the background included.
        coordinates: which convolution sees them: ``"none"``; ``"first"``, the one that sees the image; or ``"head"``,
            the first one of the head (of DeepLabV3 the one that merges the branches).
        weights: of a whole network, by torchvision's name (``"COCO_WITH_VOC_LABELS_V1"``, with 21 classes), which is
            downloaded; random if None.
        weights_backbone: of the backbone only, by torchvision's name (``"IMAGENET1K_V2"``); random if None.
        with_r: whether the convolution sees the radius too.
        encoding: what it sees instead of the plain coordinates.

    Raises:
        ValueError: for an unknown name, place or weights.
    """

    def __init__(
        self,
        name: Name = "lraspp_mobilenet_v3_large",
        num_classes: int = 21,
        coordinates: Coordinates = "none",
        weights: str | None = None,
        weights_backbone: str | None = None,
        with_r: bool = False,
        encoding: Encoding | None = None,
    ) -> None:
        super().__init__()
        if name not in get_args(Name):
            raise ValueError(f"name must be one of {', '.join(get_args(Name))}, got {name!r}")
        if coordinates not in get_args(Coordinates):
            raise ValueError(f"coordinates must be one of {', '.join(get_args(Coordinates))}, got {coordinates!r}")
        self.num_classes = num_classes
        chosen: dict[str, Any] = {"weights": weights, "weights_backbone": weights_backbone}
        for (option, value), model in zip(chosen.items(), (name, name.partition("_")[2]), strict=True):
            known = get_model_weights(model).__members__
            if value is not None and value.rpartition(".")[2] not in known:
                raise ValueError(f"{option} must be None or one of {', '.join(known)}, got {value!r}")
        self.network = get_model(name, num_classes=num_classes, **chosen)
        if weights is weights_backbone is None:
            use_momentum_of_torch(self.network)
        if coordinates != "none":
            where = "first" if coordinates == "first" else self._head(name)
            to_coordconv(self.network, where, with_r=with_r, encoding=encoding)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Map images (B, 3, H, W) to logits (B, C, H, W): ``out``, and ``aux`` of an auxiliary head, if any."""
        logits: dict[str, Tensor] = self.network(image)
        return logits

    def _head(self, name: str) -> str:
        prefix = HEADS[name.split("_")[0]]
        return next(
            found
            for found, module in self.network.named_modules()
            if isinstance(module, nn.Conv2d) and found.startswith(prefix)
        )
