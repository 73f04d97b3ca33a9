"""Functions that let torchvision's detectors see each image's coordinates, ignore padding and be traced at one size."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign

from lightning_coordconv.detection.full_precision import use_full_precision
from lightning_coordconv.detection.padding_check import check_padding
from lightning_coordconv.layers import coordconv_layers, coordinate_frame

COARSEST_STRIDE = 128
"""Stride, in pixels, of the coarsest feature map of torchvision's detectors."""
KINDS: tuple[Any, ...] = (GeneralizedRCNN, RetinaNet, FCOS)
"""torchvision's classes of detectors that can see each image's coordinates."""
NO_OBJECT = -1e4
"""Logit of an anchor in the padding; finite in float16."""
_traces_one_size = ContextVar("traces_one_size", default=False)


def use_image_frames(detector: Any, mask_padding: bool = True, multiple: int = COARSEST_STRIDE) -> None:
    """Make what a detector finds in an image independent of the other images of the batch, in place.

    torchvision's detectors pad the images of a batch, below and to the right, to the size of the largest of them,
    rounded up to a multiple of 32. In their backbone and their dense head, every CoordConv layer then sees the
    coordinates that it would see for each image by itself: -1 to 1 within the image, zero in its padding. The second
    stage, whose maps are regions, is left as it is. Where autocast is on, maps and predictions leave the networks in
    float32, in which boxes are then computed.

    Args:
        detector: torchvision's ``GeneralizedRCNN``, ``RetinaNet`` or ``FCOS``; it is given hooks, and keeps its
            state-dict keys.
        mask_padding: also let each feature map end where the image ends: convolutions and averages of windows see zeros
            in the padding, maxima, averages of maps and group normalisation leave it out, regions see the last cell
            repeated, and evaluation finds no object there; and round sizes up to ``multiple``. Then boxes are the same,
            to rounding, whatever the other images, which is checked on a random image. In training, batch normalisation
            that is not frozen is over all cells of the batch.
            Without masks, a detector without coordinates has torchvision's outputs bit for bit, which depend on the
            other images, mostly near the border.
        multiple: of pixels, a multiple of the stride of the detector's coarsest level: 128 is right for torchvision's.

    Raises:
        NotImplementedError: by the detector, when ``torch.jit.trace`` or the ONNX exporter with ``dynamo=False`` traces
            it outside of :func:`trace_one_size`: a trace would keep the coordinates and the padding of the traced image
            size. ``fold_coordconv`` makes a detector without masks that can be traced, and refuses other sizes.
        TypeError: If the detector is none of the three.
        ValueError: With ``mask_padding``, if the backbone or the head sees the padding, as with padding by reflection,
            bilinear interpolation or means that a ``forward`` method computes; naming the first module that does.
    """
    frames = add_image_frames(detector, mask_padding, multiple)
    if mask_padding:
        check_padding(_parts(detector), len(detector.transform.image_mean), multiple, frames)


def add_image_frames(detector: Any, mask_padding: bool = True, multiple: int = COARSEST_STRIDE) -> "ImageFrames":
    """Do what :func:`use_image_frames` does, without the check, for networks that are tested; return the hooks' owner.

    Args:
        detector: See :func:`use_image_frames` for this and the other arguments and the errors.
        mask_padding: See there.
        multiple: See there.
    """
    if not isinstance(detector, KINDS):
        raise TypeError(f"detector must be a GeneralizedRCNN, RetinaNet or FCOS, got {type(detector).__name__}")
    if isinstance(getattr(detector, "image_frames", None), ImageFrames):
        raise ValueError(f"this {type(detector).__name__} has image frames already; Detector adds them by itself")
    frames = detector.image_frames = ImageFrames(mask_padding)
    use_full_precision(detector)
    detector.register_forward_pre_hook(frames.refuse_tracing)
    detector.register_forward_hook(frames.forget, always_call=True)
    detector.transform.register_forward_hook(frames.remember)
    parts = _parts(detector)
    if mask_padding:
        for name, module in (entry for part in parts.values() for entry in part.named_modules()):
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.AvgPool2d):
                module.register_forward_pre_hook(frames.see_zeros)
            if isinstance(module, nn.MaxPool2d | nn.AdaptiveMaxPool2d):
                module.register_forward_pre_hook(frames.see_lowest)
                module.register_forward_hook(frames.clear_padding)
            if isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1)):
                module.register_forward_hook(frames.average_inside)
            if isinstance(module, nn.GroupNorm):
                module.register_forward_hook(frames.normalise_inside)
            if name.endswith("cls_logits"):
                module.register_forward_hook(frames.find_nothing)
        detector.backbone.register_forward_hook(frames.repeat_edges)
        # The stride of a level's anchors is the canvas by the number of cells, rounded down: right if the canvas is a
        # multiple of the coarsest level's.
        detector.transform.size_divisible = multiple
        if "rpn.head" in parts:  # so that an anchor in the padding is no proposal
            detector.rpn.score_thresh = max(detector.rpn.score_thresh, torch.finfo(torch.float32).tiny)
            for module in detector.roi_heads.modules():
                if isinstance(module, MultiScaleRoIAlign):
                    module.register_forward_pre_hook(frames.scale_by_canvas)
    for part in parts.values():
        part.register_forward_pre_hook(frames.enter)
        part.register_forward_hook(frames.leave, always_call=True)
    return frames


def _parts(detector: Any) -> dict[str, nn.Module]:
    """Return the parts of a detector whose maps are of whole images, by name."""
    head = {"rpn.head": detector.rpn.head} if hasattr(detector, "rpn") else {"head": detector.head}
    return {"backbone": detector.backbone, **head}


@contextmanager
def trace_one_size(detector: nn.Module, image: Tensor) -> Iterator[None]:
    """Return a context in which a detector can be traced, for a graph that declares the image size as fixed.

    Such a graph is right: sizes, coordinates and padding are those of the traced image, and other sizes are refused by
    whoever runs it. In a trace torchvision would compute the size to which it resizes the image in float32, and lose a
    row or column where rounding falls below a whole number: 400 * (160 / 400) is then 159. Here the size is constant.

    Args:
        detector: a module with torchvision's ``GeneralizedRCNNTransform`` in it, or without.
        image: the traced image, (C, H, W), float32 in [0, 1].
    """
    token = _traces_one_size.set(True)
    free = [
        part for part in detector.modules() if isinstance(part, GeneralizedRCNNTransform) and part.fixed_size is None
    ]
    for transform in free:
        ((height, width),) = transform([image])[0].image_sizes
        transform.fixed_size = (width, height)
    try:
        yield
    finally:
        for transform in free:
            transform.fixed_size = None
        _traces_one_size.reset(token)


class ImageFrames(threading.local):
    """Hooks that know the sizes of the images in the batch. An object, so that a copied detector has its own.

    Each thread has its own sizes, and forgets them when the detector returns. They are kept as Python numbers, so that
    no hook reads from a device.
    """

    def __init__(self, mask_padding: bool) -> None:
        self.mask_padding = mask_padding
        self.sizes: list[tuple[int, int]] = []
        self.canvas: tuple[int, int] = (0, 0)
        self.frame: AbstractContextManager[None] | None = None
        self.paddings: dict[tuple[int, int], Tensor | None] = {}

    def __reduce__(self) -> tuple[type["ImageFrames"], tuple[bool]]:
        return type(self), (self.mask_padding,)

    def refuse_tracing(self, detector: nn.Module, inputs: Any) -> None:
        """Refuse a trace that would be wrong for images of any other size, without any sign of it."""
        if _traces_one_size.get():
            return
        if torch.jit.is_tracing() and (self.mask_padding or coordconv_layers(detector)):  # type: ignore[attr-defined, no-untyped-call]
            raise NotImplementedError(
                "torch.jit.trace and torch.onnx.export(dynamo=False) would keep the coordinates and the padding of the "
                "traced image size: use lightning-coordconv export with --size, which declares the size as fixed; or "
                "build the detector with mask_padding=False and trace fold_coordconv(detector, [image]), which accepts "
                "that size only; it must be a multiple of 32"
            )

    def remember(self, transform: nn.Module | None, inputs: Any, output: tuple[ImageList, Any]) -> None:
        """Keep the sizes (height, width) of the images and of the canvas that they are padded to."""
        images, _ = output
        sizes = [(int(height), int(width)) for height, width in images.image_sizes]
        self.sizes = sizes if len(set(sizes)) > 1 else sizes[:1]  # one coordinate bias serves images of one size
        self.canvas = (int(images.tensors.shape[-2]), int(images.tensors.shape[-1]))
        self.paddings = {}

    def enter(self, part: nn.Module, inputs: Any) -> None:
        """Enter the frames of the images, unless every image fills the canvas, or a part runs without the detector."""
        if self.sizes in ([], [self.canvas]):
            return
        sizes = torch.tensor(self.sizes)
        self.frame = coordinate_frame((0, 0), sizes, crop=self.canvas, padded=True, zero_outside=True)
        self.frame.__enter__()

    def leave(self, part: nn.Module, inputs: Any, output: Any) -> None:
        """Leave the frames, also after an error."""
        if self.frame is not None:
            self.frame.__exit__(None, None, None)
            self.frame = None

    def forget(self, detector: nn.Module, inputs: Any, output: Any) -> None:
        """Forget the images, also after an error: a part that is called by itself sees the whole of its input."""
        self.sizes = []
        self.paddings = {}

    def see_zeros(self, layer: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor] | None:
        """Set the padding of a layer's input to zero."""
        padding = self._padding(inputs[0])
        return None if padding is None else (inputs[0].masked_fill(padding, 0.0),)

    def see_lowest(self, layer: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor] | None:
        """Set the padding of a layer's input to the lowest number, as a maximum sees beyond the border of a map."""
        padding = self._padding(inputs[0])
        return None if padding is None else (inputs[0].masked_fill(padding, torch.finfo(inputs[0].dtype).min),)

    def clear_padding(self, layer: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
        """Set the padding of a layer's output to zero."""
        padding = self._padding(output)
        return None if padding is None else output.masked_fill(padding, 0.0)

    def find_nothing(self, layer: nn.Module, inputs: Any, logits: Tensor) -> Tensor | None:
        """Let no anchor in the padding be an object; in training one of them may be an object's best anchor."""
        padding = None if layer.training else self._padding(logits)
        return None if padding is None else logits.masked_fill(padding, NO_OBJECT)

    def average_inside(self, pool: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor | None:
        """Average over the cells of the image only."""
        padding = self._padding(inputs[0])
        if padding is None:
            return None
        total = inputs[0].masked_fill(padding, 0.0).sum((2, 3), keepdim=True)
        return total / (~padding).sum((2, 3), keepdim=True)

    def normalise_inside(self, norm: Any, inputs: tuple[Tensor], output: Tensor) -> Tensor | None:
        """Normalise groups by the mean and variance of the cells of the image only."""
        (features,) = inputs
        padding = self._padding(features)
        if padding is None:
            return None
        groups = features.unflatten(1, (norm.num_groups, -1)).to(torch.promote_types(features.dtype, torch.float32))
        inside = ~padding[:, None]  # groups are (B, G, C / G, h, w)
        count = inside.sum((2, 3, 4), keepdim=True) * groups.shape[2]
        mean = (groups * inside).sum((2, 3, 4), keepdim=True) / count
        variance = ((groups - mean) ** 2 * inside).sum((2, 3, 4), keepdim=True) / count
        normal = ((groups - mean) * (variance + norm.eps).rsqrt()).flatten(1, 2).to(output.dtype)
        scaled = normal if norm.weight is None else normal * norm.weight[:, None, None]
        return scaled if norm.bias is None else scaled + norm.bias[:, None, None]

    def scale_by_canvas(self, pool: nn.Module, inputs: tuple[Any, Any, list[Any]]) -> tuple[Any, Any, list[Any]] | None:
        """Let a pool of regions find the stride of each map by the canvas, which the map covers.

        torchvision's divides the largest image by the number of cells, rounds to a power of two, and keeps the strides
        of the first batch: where an image fills less than 0.7 of its canvas they would be half of the true ones.
        """
        features, regions, sizes = inputs
        return (features, regions, [self.canvas] * len(sizes)) if self.sizes else None

    def repeat_edges(self, backbone: nn.Module, inputs: Any, output: Any) -> Any:
        """Fill the padding of each map with the last cells of the image, which regions see beyond the end of a map."""
        if isinstance(output, Tensor):
            return self._repeated(output)
        return OrderedDict((name, self._repeated(features)) for name, features in output.items())

    def cells(self, features: Tensor) -> list[tuple[int, int]]:
        """Return the height and width that each size has on a map (B, C, h, w): size / stride, rounded up."""
        (height, width), (rows, columns) = self.canvas, features.shape[-2:]
        return [((h * rows + height - 1) // height, (w * columns + width - 1) // width) for h, w in self.sizes]

    def _padding(self, features: Tensor) -> Tensor | None:
        """Return which cells of a map (B, C, h, w) are padding, (B or 1, 1, h, w), or None if none is."""
        if self.frame is None:
            return None
        size = (features.shape[-2], features.shape[-1])
        if size not in self.paddings:
            self.paddings[size] = self._make_padding(size, features)
        return self.paddings[size]

    def _make_padding(self, size: tuple[int, int], features: Tensor) -> Tensor | None:
        cells = self.cells(features)
        if all(own == size for own in cells):
            return None
        rows, columns = (torch.arange(n, device=features.device) for n in size)
        ends = torch.tensor(cells).to(features.device, non_blocking=True)
        return ((rows >= ends[:, :1])[:, :, None] | (columns >= ends[:, 1:])[:, None, :])[:, None]

    def _repeated(self, features: Tensor) -> Tensor:
        if self._padding(features) is None:
            return features
        height, width = features.shape[-2:]
        last = torch.tensor(self.cells(features)).to(features.device, non_blocking=True) - 1
        rows = torch.arange(height, device=features.device).minimum(last[:, :1])[:, None, :, None]
        columns = torch.arange(width, device=features.device).minimum(last[:, 1:])[:, None, None, :]
        cells = (rows * width + columns).expand(*features.shape[:2], -1, -1)
        return features.flatten(2).gather(2, cells.flatten(2)).view_as(features)
