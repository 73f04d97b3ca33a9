"""Functions that run any model on images, and return the feature maps of its stages."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.ssd import SSD

from lightning_coordconv.core.undefined import UndefinedOutputError, defined_outputs, tensors_in

DETECTORS = (GeneralizedRCNN, RetinaNet, FCOS, SSD)
"""torchvision's detectors take a list of images, and return a dict for each."""
OF_MAPS = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.AdaptiveAvgPool2d, nn.AvgPool2d, nn.MaxPool2d, nn.Upsample)
"""Layers of maps (1, C, H, W). A size that none of them sees is no height and width: of channels last, of attention."""


def takes_list(model: nn.Module) -> bool:
    """Return whether the model is a torchvision detector or contains one."""
    return any(isinstance(module, DETECTORS) for module in model.modules())


def run(model: nn.Module, images: Sequence[Tensor]) -> Any:
    """Run a model without gradients on images (C, H, W) of one size, or of any sizes for a detector.

    Raises:
        ValueError: if the model does not accept the images, with the model's own reason, or returns no numbers
            or NaN.
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    inputs = [_with_channels(image.to(device), model) for image in images]
    try:
        with torch.no_grad(), defined_outputs(nn.ModuleList([model])):
            output = model(inputs) if takes_list(model) else model(torch.stack(inputs))
    except (RuntimeError, TypeError, AttributeError, UndefinedOutputError) as error:
        shapes = sorted({tuple(image.shape) for image in inputs})
        reason = str(error).splitlines()[0]
        raise ValueError(f"{type(model).__name__} cannot be run on images of shape {shapes}: {reason}") from error
    if next(tensors_in(output), None) is None:
        raise ValueError(
            f"{type(model).__name__} must return a tensor of floating-point numbers, or a list, tuple or dict of them, "
            f"got {type(output).__name__}"
        )
    return output


def _with_channels(image: Tensor, model: nn.Module) -> Tensor:
    """Repeat a grey image for a model whose first convolution has several input channels."""
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if first is not None and image.shape[0] == 1 < first.in_channels * first.groups:
        return image.expand(first.in_channels, -1, -1)
    return image


def of_one_size(images: Sequence[Tensor]) -> list[Tensor]:
    """Return the images that have the size of most of them, all if these are fewer than four."""
    sizes = [tuple(image.shape) for image in images]
    common = max(set(sizes), key=sizes.count)
    chosen = [image for image in images if tuple(image.shape) == common]
    return chosen if len(chosen) >= 4 else list(images)


def stages(model: nn.Module, images: Sequence[Tensor]) -> list[str]:
    """Return the names of the modules whose outputs are the model's stages, in the order of execution.

    A stage is the last module that returns a feature map (1, C, H, W) of a size before the size changes. Modules that
    run several times, as the heads of a detector do, and features of single regions are no stages; nor are maps of one
    cell.

    Args:
        model: in evaluation mode.
        images: one is enough.
    """
    order: list[tuple[str, tuple[int, ...]]] = []
    sizes: set[tuple[int, ...]] = set()
    names = {module: name for name, module in model.named_modules()}

    def note(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(module, OF_MAPS):
            sizes.update(tuple(tensor.shape[-2:]) for tensor in tensors_in([*args, output]))
        if isinstance(output, Tensor) and output.dim() == 4 and len(output) == 1 and min(output.shape[-2:]) > 1:
            order.append((names[module], tuple(output.shape[-2:])))

    hooks = [module.register_forward_hook(note) for module in names]
    try:
        run(model, images[:1])
    finally:
        for hook in hooks:
            hook.remove()
    last: dict[tuple[int, ...], str] = {}
    runs = Counter(name for name, _ in order)
    for name, size in order:
        if name and runs[name] == 1 and size in sizes:
            last.pop(size, None)
            last[size] = name
    return list(last.values())


def feature_maps(model: nn.Module, images: Sequence[Tensor], names: Sequence[str]) -> dict[str, list[Tensor]]:
    """Return the feature maps (C, H, W) of each image at each stage; images are run one by one.

    One by one, so that the maps of a detector, which pads images of a batch to one size, belong to one image each.
    """
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    modules = dict(model.named_modules())
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            seen[name] = output.detach()[0].float().cpu().clone()  # the model may go on in place

        return hook

    hooks = [modules[name].register_forward_hook(keep(name)) for name in names]
    try:
        for image in images:
            seen.clear()
            run(model, [image])
            for name in names:
                if name in seen:
                    found[name].append(seen[name])
    finally:
        for hook in hooks:
            hook.remove()
    return found


def is_vector(output: Any) -> bool:
    """Return whether a model returned one vector or one number an image: (B, K), (B,), or () of a batch of one."""
    return isinstance(output, Tensor) and output.dim() <= 2
