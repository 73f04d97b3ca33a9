"""Network class of torchvision's detectors, pretrained or not, with CoordConv layers in chosen places."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, get_args

from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights
from torchvision.ops.misc import FrozenBatchNorm2d

from lightning_coordconv.core.batch_norm import use_momentum_of_torch
from lightning_coordconv.core.checked import CheckedArguments
from lightning_coordconv.core.checkpoints import read_state_dict
from lightning_coordconv.core.description import remember_arguments
from lightning_coordconv.core.offline import is_restoring
from lightning_coordconv.detection.image_frames import add_image_frames
from lightning_coordconv.layers import Encoding, to_coordconv

Name = Literal[
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "retinanet_resnet50_fpn",
    "retinanet_resnet50_fpn_v2",
    "fcos_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn_v2",
    "keypointrcnn_resnet50_fpn",
]
Coordinates = Literal["none", "stem", "backbone", "pp_yolo"]
PP_YOLO = ("backbone.fpn.inner_blocks.*", "rpn.head.conv.0.0", "head.*_head.conv.0", "head.*_head.conv.0.0")
"""Names of the convolutions at PP-YOLO's places; each model has some of them."""
WITHOUT_EPSILON = (
    "fasterrcnn_resnet50_fpn", "retinanet_resnet50_fpn", "maskrcnn_resnet50_fpn", "keypointrcnn_resnet50_fpn",
)  # fmt: skip
"""Models whose weights ``"COCO_V1"`` were trained with batch normalisation of epsilon 0."""
PREDICTORS = (
    "roi_heads.box_predictor.", "head.classification_head.cls_logits.", "roi_heads.mask_predictor.mask_fcn_logits.",
    "roi_heads.keypoint_predictor.",
)  # fmt: skip
"""Layers whose size depends on the number of classes or keypoints."""


@remember_arguments
class Detector(CheckedArguments, nn.Module):
    """One of torchvision's detectors, with coordinates in some of its convolutions.

    Each image has its own coordinates, and by default the same detections whatever the other images of the batch; see
    :func:`~lightning_coordconv.detection.use_image_frames`. Coordinate weights start at zero, so that a pretrained
    detector starts with the outputs that it had.

    In training it maps images, a list of (3, H, W) in [0, 1], and targets to a dict of losses; in evaluation images to
    a dict of boxes, labels and scores for each. Mask R-CNN also needs true ``masks`` (n, H, W), and finds ``masks``
    (n, 1, H, W), probabilities. Keypoint R-CNN also needs true ``keypoints`` (n, K, 3), and finds ``keypoints``
    (n, K, 3), of which the third number is 1, and their ``keypoints_scores`` (n, K), logits.

    Args:
        name: torchvision's.
        num_classes: with the background, which is class 0.
        coordinates: where: ``"none"``; ``"stem"``, the first convolution; ``"backbone"``, all of the backbone below the
            feature pyramid; or ``"pp_yolo"``, where PP-YOLO (Long et al., 2020) has them, the 1x1 convolutions of the
            feature pyramid and the first ones of the dense head.
        weights: of a whole detector: one of torchvision's by name (``"COCO_V1"``), which is downloaded, or a file with
            its state dict. Layers that predict classes or keypoints are initialised anew if their number differs.
        weights_backbone: of a classifier, for the backbone only: torchvision's by name (``"IMAGENET1K_V2"``), or a
            file.
        with_r: append the radius to the coordinates.
        encoding: what the layers see instead of the plain coordinates.
        mask_padding: see :func:`~lightning_coordconv.detection.use_image_frames`.
        options: of torchvision's model, such as ``min_size``, ``max_size``, ``box_score_thresh`` or, of Keypoint R-CNN,
            ``num_keypoints``, 17 by default.

    Attributes:
        targets: what it needs of each object in training, beside box and label: ``"masks"`` or ``"keypoints"``.
        num_keypoints: number of keypoints of an object, 0 without keypoints.

    As in torchvision, the batch normalisation of a pretrained backbone is frozen, but for the ``_v2`` models.

    Raises:
        ValueError: for an unknown name or place, weights of both kinds, a damaged file, or weights of another
            architecture.
        FileNotFoundError: if weights are neither a file nor one of torchvision's.
    """

    detector: Any  # to torch's types its parts could be anything

    def __init__(
        self,
        name: Name = "fasterrcnn_resnet50_fpn",
        num_classes: int = 91,
        coordinates: Coordinates = "stem",
        weights: str | None = None,
        weights_backbone: str | None = None,
        with_r: bool = False,
        encoding: Encoding | None = None,
        mask_padding: bool = True,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        for what, value, allowed in (("name", name, Name), ("coordinates", coordinates, Coordinates)):
            if value not in get_args(allowed):
                raise ValueError(f"{what} must be one of {', '.join(get_args(allowed))}, got {value!r}")
        if weights and weights_backbone:
            raise ValueError(f"weights={weights} include the backbone: leave out weights_backbone={weights_backbone}")
        self.num_classes = num_classes
        self.detector = get_model(name, weights=None, weights_backbone=None, num_classes=num_classes, **(options or {}))
        heads = getattr(self.detector, "roi_heads", None)
        self.num_keypoints: int = heads.keypoint_predictor.out_channels if heads and heads.has_keypoint() else 0
        masks, keypoints = heads is not None and heads.has_mask(), self.num_keypoints > 0
        self.targets = frozenset(name for name, has in (("masks", masks), ("keypoints", keypoints)) if has)
        body = self.detector.backbone.body
        if weights and not is_restoring():
            _load(self.detector, _state_dict(weights, name), PREDICTORS)
        if weights_backbone and not is_restoring():
            backbone = "mobilenet_v3_large" if "mobilenet" in name else "resnet50"
            state = _state_dict(weights_backbone, backbone)
            features = {key: weight for key, weight in state.items() if not key.startswith(("fc.", "classifier."))}
            _load(body, {key.removeprefix("features."): weight for key, weight in features.items()})
        if not (weights or weights_backbone):
            use_momentum_of_torch(self.detector)
        elif not name.endswith("_v2"):
            _freeze_norms(self.detector.backbone, 0.0 if weights and _without_epsilon(weights, name) else 1e-5)
        if coordinates == "stem":
            to_coordconv(body, "first", with_r=with_r, encoding=encoding)
        elif coordinates == "backbone":
            to_coordconv(body, "all", with_r=with_r, encoding=encoding)
        elif coordinates == "pp_yolo":
            to_coordconv(self.detector, _as_in_pp_yolo, with_r=with_r, encoding=encoding)
        add_image_frames(self.detector, mask_padding)

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        """Return the losses of a batch in training, the detections on its images in evaluation."""
        return self.detector(images, targets)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the backbone and its feature pyramid; what follows depends on how many boxes there are.

        Images of another size, or another combination of sizes in a batch, are another graph: this pays off if all
        images have one size. After eight graphs torch warns, and leaves further sizes uncompiled.

        Args:
            *args: of ``torch.compile``.
            **kwargs: of ``torch.compile``.
        """
        for part in (self.detector.backbone.body, self.detector.backbone.fpn):
            part.compile(*args, **kwargs)


def _as_in_pp_yolo(name: str, convolution: nn.Module) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in PP_YOLO)


def _without_epsilon(weights: str, name: str) -> bool:
    """Return whether weights were trained with an epsilon of 0: torchvision's, by its name or that of its file.

    The file itself need not exist: a detector is restored from a checkpoint without it.
    """
    if name not in WITHOUT_EPSILON:
        return False
    file = Path(get_model_weights(name)["COCO_V1"].url).name
    if weights != "COCO_V1" and Path(weights).name != file and not is_restoring():
        rank_zero_info(
            f"The frozen batch normalisation of {weights} has an epsilon of 1e-5. Weights that were fine-tuned from "
            f"torchvision's COCO_V1, whose file is {file}, were trained with 0, and have other outputs here."
        )
    return weights == "COCO_V1" or Path(weights).name == file


def _state_dict(weights: str, name: str) -> Mapping[str, Tensor]:
    """Return weights of a model: those in a file, or torchvision's of that name."""
    if Path(weights).is_file():
        return read_state_dict(weights)
    known = [entry.name for entry in get_model_weights(name)]
    if weights not in known:
        raise FileNotFoundError(f"{weights} is neither a file nor one of torchvision's weights of {name}: {known}")
    return get_model_weights(name)[weights].get_state_dict(progress=True, check_hash=True)


def _load(module: nn.Module, state: Mapping[str, Tensor], replaceable: tuple[str, ...] = ()) -> None:
    """Load weights; those of replaceable layers only where they have the right shape."""
    own = module.state_dict()
    fitting = {
        key: tensor
        for key, tensor in state.items()
        if not key.startswith(replaceable) or (key in own and own[key].shape == tensor.shape)
    }
    try:
        missing, unexpected = module.load_state_dict(fitting, strict=False)
    except RuntimeError as error:  # shapes
        raise ValueError(f"these are weights of another architecture: {str(error).splitlines()[1].strip()}") from error
    missing = [key for key in missing if not key.startswith(replaceable) and not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ValueError(
            f"these are weights of another architecture: {len(missing)} are missing, as {missing[:1]}, "
            f"and {len(unexpected)} unknown, as {unexpected[:1]}"
        )


def _freeze_norms(module: nn.Module, eps: float) -> None:
    """Replace batch normalisations below a module by frozen ones."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            frozen = FrozenBatchNorm2d(child.num_features, eps)
            frozen.load_state_dict(child.state_dict())
            setattr(module, name, frozen)
        else:
            _freeze_norms(child, eps)
