"""Function that checks that a detector's maps inside an image do not depend on the padding around the image."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList


class KnowsSizes(Protocol):
    """What the check needs of the hooks that know the sizes of images."""

    def remember(self, transform: nn.Module | None, inputs: Any, output: tuple[ImageList, Any]) -> None:
        """Keep the sizes of the images and of the canvas."""

    def forget(self, detector: Any, inputs: Any, output: Any) -> None:
        """Forget the sizes."""

    def cells(self, features: Tensor) -> list[tuple[int, int]]:
        """Return the height and width of each image on a map."""


@torch.no_grad()
def check_padding(parts: Mapping[str, nn.Module], channels: int, multiple: int, frames: KnowsSizes) -> None:
    """Compute the maps of one random image with little and with much padding, and compare them inside the image.

    Nothing is computed for parts on the meta device, which have no numbers.

    Args:
        parts: the backbone, which maps images (B, C, H, W) to one map or a dict of maps, and the head, which takes a
            list of maps, by name.
        channels: C.
        multiple: of pixels, to which the sizes of images are rounded up.
        frames: whose hooks the parts have.

    Raises:
        ValueError: naming the first module whose output differs by more than rounding.
    """
    weight = next(parameter for part in parts.values() for parameter in part.parameters())
    if weight.is_meta:
        return
    size = (multiple, multiple - multiple // 4)  # the height needs no padding by itself
    image = torch.rand(1, channels, *size, generator=torch.Generator().manual_seed(0)).to(weight)
    modules = {module: name for prefix, part in parts.items() for name, module in _leaves(prefix, part)}
    modes = {module: module.training for part in parts.values() for module in part.modules()}
    seen: list[list[tuple[nn.Module, Tensor]]] = [[], []]
    handles: list[Any] = []
    try:
        for part in parts.values():
            part.eval()
        for maps, side in zip(seen, (multiple, 2 * multiple), strict=True):
            handles = [module.register_forward_hook(_collect(maps, frames)) for module in modules]
            canvas = image.new_zeros(1, channels, side, side)
            canvas[..., : size[0], : size[1]] = image
            frames.remember(None, None, (ImageList(canvas, [size]), None))
            backbone, head = parts.values()
            features = backbone(canvas)
            head([features] if isinstance(features, Tensor) else list(features.values()))
            while handles:
                handles.pop().remove()
    finally:
        for handle in handles:
            handle.remove()
        frames.forget(None, None, None)
        for module, training in modes.items():
            module.training = training
    for (module, little), (_, much) in zip(*seen, strict=True):
        if _differ(little, much):
            raise ValueError(
                f"what the detector finds in an image would depend on the other images of the batch: "
                f"{modules[module]} ({type(module).__name__}), or what is computed before it, sees the padding around "
                "an image. Replace that, such as padding by reflection, bilinear interpolation or means in a forward "
                "method, or give mask_padding=False"
            )


def _leaves(prefix: str, part: nn.Module) -> list[tuple[str, nn.Module]]:
    found = [(name, module) for name, module in part.named_modules() if not any(module.children())]
    return [(f"{prefix}.{name}" if name else prefix, module) for name, module in found]


def _collect(maps: list[tuple[nn.Module, Tensor]], frames: KnowsSizes) -> Callable[[nn.Module, Any, Any], None]:
    """Return a hook that keeps what a module returns inside of the image."""

    def collect(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.is_floating_point():
            if output.ndim == 4:
                ((rows, columns),) = frames.cells(output)
                output = output[..., :rows, :columns]
            maps.append((module, output.clone()))

    return collect


def _differ(first: Tensor, second: Tensor) -> bool:
    if first.shape != second.shape:
        return True
    tolerance = math.sqrt(torch.finfo(first.dtype).eps) * first.abs().amax() if first.numel() else 0.0
    return bool(((first - second).abs() > tolerance).any())
