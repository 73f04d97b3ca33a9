"""Images of several sizes in one batch of a torchvision detector: each in a frame of its own."""

from collections import OrderedDict
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

from lightning_coordconv.layers import coordinate_frame
from lightning_coordconv.layers.frames import Frame, active_frame

COARSEST_STRIDE = 128
SILENT = -1e4
"""A logit that is no object, finite in float16."""


def use_image_frames(detector: Any, mask_padding: bool = True, multiple: int = COARSEST_STRIDE) -> None:
    """Let what a detector finds in an image not depend on the images beside it in the batch, in place.

    torchvision's detectors pad the images of a batch, below and to the right, to the size of the largest of them,
    rounded up to a multiple of 32. In their backbone and their dense head, every CoordConv layer then sees the
    coordinates that it would see in the image alone. The second stage, whose maps are regions, is left as it is.

    Args:
        detector: torchvision's ``GeneralizedRCNN``, ``RetinaNet`` or ``FCOS``; it is given hooks, and keeps its
            state-dict keys.
        mask_padding: also let each map end where the image ends: convolutions and max pooling see zeros beyond,
            averages and group normalisation leave it out, regions see the last cell repeated, and evaluation finds no
            object there; and round sizes up to ``multiple``. Then boxes are the same, to rounding, whatever the batch
            mates. Batch normalisation that is not frozen still is over everything in training. Without it, outputs of a
            detector without coordinates are torchvision's to the bit, and depend on the batch mates, mostly near the
            border.
        multiple: of pixels, a multiple of the stride of the detector's coarsest level: 128 is right for torchvision's.
    """
    frames = _ImageFrames()
    detector.transform.register_forward_hook(frames.remember)
    two_stages = isinstance(detector, GeneralizedRCNN)
    parts = (detector.backbone, detector.rpn.head if two_stages else detector.head)
    if mask_padding:
        for name, module in (entry for part in parts for entry in part.named_modules()):
            if isinstance(module, nn.Conv2d | nn.MaxPool2d):
                module.register_forward_pre_hook(_see_zeros)
            if isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size == 1:
                module.register_forward_hook(_average_inside)
            if isinstance(module, nn.GroupNorm):
                module.register_forward_hook(_normalise_inside)
            if name.endswith("cls_logits"):
                module.register_forward_hook(_find_nothing)
        detector.backbone.register_forward_hook(_repeat_edges)
        # The stride of a level's anchors is the canvas by the number of cells, rounded down: right if the canvas is a
        # multiple of the coarsest level's.
        detector.transform.size_divisible = multiple
        if two_stages:  # so that what is silent is no proposal
            detector.rpn.score_thresh = max(detector.rpn.score_thresh, torch.finfo(torch.float32).tiny)
    for part in parts:
        part.register_forward_pre_hook(frames.enter)
        part.register_forward_hook(frames.leave, always_call=True)


class _ImageFrames:
    """The hooks that need to know the sizes of the images. An object, so that a copied detector has its own."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []
        self.canvas: tuple[int, int] = (0, 0)
        self.frame: AbstractContextManager[None] | None = None

    def remember(self, transform: nn.Module, inputs: Any, output: Any) -> None:
        """Keep the sizes (height, width) of the images and of the canvas that they are padded to."""
        images, _ = output
        self.sizes = images.image_sizes
        self.canvas = tuple(images.tensors.shape[-2:])

    def enter(self, part: nn.Module, inputs: Any) -> None:
        """Put each image in its own frame, if it has not the whole canvas."""
        distinct = set(self.sizes)
        if distinct == {self.canvas}:
            return
        sizes = self.sizes if len(distinct) > 1 else self.sizes[:1]  # one response of the coordinates for all
        self.frame = coordinate_frame((0, 0), torch.tensor(sizes), crop=self.canvas, padded=True)
        self.frame.__enter__()

    def leave(self, part: nn.Module, inputs: Any, output: Any) -> None:
        """Come back from it, also after an error."""
        if self.frame is not None:
            self.frame.__exit__(None, None, None)
            self.frame = None


def _sizes(features: Tensor) -> Tensor | None:
    """Return the height and width that the images have on a map (B, C, h, w), or None if none has padding.

    Sizes are (B, 2), or (1, 2) where they are the same.
    """
    frame = active_frame()
    if not isinstance(frame, Frame):
        return None
    size = features.shape[-2:]
    _, sizes = frame.place(size, torch.device("cpu"), torch.float32)
    return None if bool((sizes >= torch.tensor(size)).all()) else sizes.long().to(features.device)


def _padding(features: Tensor) -> Tensor | None:
    """Return where a map (B, C, h, w) has no image, (B or 1, 1, h, w), or None if it has one everywhere."""
    sizes = _sizes(features)
    if sizes is None:
        return None
    rows, columns = (torch.arange(n, device=features.device) for n in features.shape[-2:])
    return ((rows >= sizes[:, :1])[:, :, None] | (columns >= sizes[:, 1:])[:, None, :])[:, None]


def _see_zeros(layer: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor] | None:
    padding = _padding(inputs[0])
    return None if padding is None else (inputs[0].masked_fill(padding, 0.0),)


def _find_nothing(layer: nn.Module, inputs: Any, logits: Tensor) -> Tensor | None:
    padding = None if layer.training else _padding(logits)  # an anchor out there may be an object's best one
    return None if padding is None else logits.masked_fill(padding, SILENT)


def _average_inside(pool: nn.AdaptiveAvgPool2d, inputs: tuple[Tensor], output: Tensor) -> Tensor | None:
    padding = _padding(inputs[0])
    if padding is None:
        return None
    total = inputs[0].masked_fill(padding, 0.0).sum((2, 3), keepdim=True)
    return total / (~padding).sum((2, 3), keepdim=True)


def _normalise_inside(norm: nn.GroupNorm, inputs: tuple[Tensor], output: Tensor) -> Tensor | None:
    """Normalise by mean and variance of the cells that have an image."""
    (features,) = inputs
    padding = _padding(features)
    if padding is None:
        return None
    groups = features.unflatten(1, (norm.num_groups, -1)).float()  # (B, G, C / G, h, w)
    inside = ~padding[:, None]
    count = inside.sum((2, 3, 4), keepdim=True) * groups.shape[2]
    mean = (groups * inside).sum((2, 3, 4), keepdim=True) / count
    variance = ((groups - mean) ** 2 * inside).sum((2, 3, 4), keepdim=True) / count
    normal = ((groups - mean) * (variance + norm.eps).rsqrt()).flatten(1, 2).to(output.dtype)
    return normal * norm.weight[:, None, None] + norm.bias[:, None, None]


def _repeat_edges(backbone: nn.Module, inputs: Any, output: Any) -> Any:
    """Fill the padding of each map with the last cells of the image, which is what regions see beyond a map's end."""
    if isinstance(output, Tensor):
        return _repeated(output)
    return OrderedDict((name, _repeated(features)) for name, features in output.items())


def _repeated(features: Tensor) -> Tensor:
    sizes = _sizes(features)
    if sizes is None:
        return features
    height, width = features.shape[-2:]
    rows = torch.arange(height, device=features.device).minimum(sizes[:, :1] - 1)[:, None, :, None]
    columns = torch.arange(width, device=features.device).minimum(sizes[:, 1:] - 1)[:, None, None, :]
    cells = (rows * width + columns).expand(*features.shape[:2], -1, -1)
    return features.flatten(2).gather(2, cells.flatten(2)).view_as(features)
