"""Networks that detect digits (the paper's region-proposal net, Faster R-CNN), and CoordConv coordinates in [0, 1]."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign

from lightning_coordconv.core.checked import CheckedArguments
from lightning_coordconv.core.description import remember_arguments
from lightning_coordconv.core.initialisation import he_normal_
from lightning_coordconv.detection.image_frames import add_image_frames
from lightning_coordconv.layers import CoordConv2d, Encoding, to_coordconv

Place = Literal["image", "features", "offsets"]
PLACES: tuple[Place, ...] = get_args(Place)
SIDES = ((15, 15), (20, 20), (25, 25), (15, 20), (20, 25), (20, 15), (25, 20), (15, 25), (25, 15))
"""Height and width of the anchors, in pixels."""
STRIDE = 4


class ZeroToOne(Encoding):
    """Coordinates that run from 0 to 1 in place of -1 to 1."""

    def num_channels(self, num_axes: int) -> int:
        """Return n."""
        return num_axes

    def forward(self, grid: Tensor) -> Tensor:
        """Shift and scale the coordinates."""
        return (grid + 1) / 2


class RegionProposals(NamedTuple):
    """Output of a region-proposal network for a batch, with A anchors for each image.

    Attributes:
        anchors: boxes (A, 4), x1, y1, x2, y2 in pixels.
        offsets: of the proposals from the anchors (B, A, 4), in the code of
            :func:`~lightning_coordconv.detection.matching.encode_boxes`.
        logits: (B, A, 2): object, background.
    """

    anchors: Tensor
    offsets: Tensor
    logits: Tensor


@remember_arguments
class RegionProposalNet(CheckedArguments, nn.Module):
    """The paper's "Faster R-CNN": a backbone and a region-proposal network, without the second stage.

    The backbone has two 5x5 convolutions, each with a pooling; a 3x3 convolution makes features of 32 channels; a 3x3
    and a 1x1 convolution predict how to move and resize each of 9 anchors; another 1x1 convolution predicts whether it
    is an object. The net has 83,838 weights with coordinates at all three places, and 81,590 without. Source: the
    authors' ``model_zoo.py``
    (``rpn_sampler``, ``coord_rpn_sampler``). Weights are drawn as there: he_normal, and zeros for the offsets, so that
    the first proposals are the anchors.

    Args:
        coordinates: which convolutions are CoordConvs: the one on the ``"image"``, the one that makes the
            ``"features"``, the one that makes the ``"offsets"``. The paper: all three; its baseline: none.
        same_padding: pad the backbone's convolutions; the authors' code does not by default.
        encoding: what a CoordConv sees; coordinates in [-1, 1] by default.

    Raises:
        ValueError: for a place of another name, or one that is named twice.
    """

    cell_anchors: Tensor

    def __init__(
        self, coordinates: Sequence[Place] = PLACES, same_padding: bool = False, encoding: Encoding | None = None
    ) -> None:
        super().__init__()
        if not set(coordinates) <= set(PLACES) or len(set(coordinates)) < len(coordinates):
            raise ValueError(f"coordinates must be some of {PLACES}, each once, got {list(coordinates)}")

        def conv(channels: int, filters: int, kernel: int, place: Place | None = None, pad: bool = True) -> nn.Conv2d:
            padding = kernel // 2 if pad else 0
            if place in coordinates:
                return CoordConv2d(channels, filters, kernel, padding=padding, encoding=encoding)
            return nn.Conv2d(channels, filters, kernel, padding=padding)

        self.backbone = nn.Sequential(
            conv(1, 32, 5, "image", same_padding),
            nn.ReLU(),
            nn.MaxPool2d(2),
            conv(32, 64, 5, None, same_padding),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.features = nn.Sequential(conv(64, 32, 3, "features"), nn.ReLU())
        self.offsets = nn.Sequential(conv(32, 32, 3), nn.ReLU(), conv(32, 4 * len(SIDES), 1, "offsets"))
        self.scores = conv(32, 2 * len(SIDES), 1)
        he_normal_(self)
        for parameter in self.offsets[-1].parameters():
            nn.init.zeros_(parameter)
        first = 2 if same_padding else 8
        self.register_buffer("cell_anchors", _cell_anchors(first), persistent=False)
        self.to(memory_format=torch.channels_last)  # a sixth faster on a CPU

    def forward(self, image: Tensor) -> RegionProposals:
        """Propose boxes for images (B, 1, H, W)."""
        features = self.features(self.backbone(image))
        rows, columns = (torch.arange(cells, device=image.device) * STRIDE for cells in features.shape[-2:])
        shifts = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).repeat(1, 1, 2)  # (h, w, 4): x, y
        anchors = (shifts[:, :, None] + self.cell_anchors).flatten(0, 2)
        return RegionProposals(anchors, _rows(self.offsets(features), 4), _rows(self.scores(features), 2))


@remember_arguments
class DigitFasterRCNN(CheckedArguments, FasterRCNN):
    """torchvision's Faster R-CNN, with both stages, over the paper's backbone and anchors; it also classifies digits.

    The region-proposal network is torchvision's, with a 3x3 convolution of 64 channels; the second stage sees 5x5 cells
    of each proposal and has hidden layers of 128. With coordinates, the convolution on the image and those that make
    the features and the offsets of the proposals are CoordConvs, as in :class:`RegionProposalNet`.

    In training it maps grey images (1, H, W) and targets to a dict of losses, in evaluation images to boxes, as all of
    torchvision's detectors do.

    Args:
        coordinates: make the three convolutions CoordConvs.
        image_size: height and width of the images in pixels: others are rescaled, and then padded by torchvision to
            multiples of 32.
        num_classes: with the background, which is class 0.
    """

    def __init__(self, coordinates: bool = True, image_size: int = 64, num_classes: int = 11) -> None:
        backbone = nn.Sequential(
            nn.Conv2d(1, 32, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        backbone.out_channels = 64  # type: ignore[assignment]  # where FasterRCNN looks for it
        super().__init__(  # type: ignore[no-untyped-call]  # torchvision has no types
            backbone,
            min_size=image_size,
            max_size=image_size,
            image_mean=[0.0],
            image_std=[1.0],
            rpn_anchor_generator=_anchors(first=2),
            rpn_pre_nms_top_n_train=500,
            rpn_post_nms_top_n_train=100,
            rpn_pre_nms_top_n_test=500,
            rpn_post_nms_top_n_test=100,
            rpn_batch_size_per_image=64,
            box_roi_pool=MultiScaleRoIAlign(["0"], output_size=5, sampling_ratio=2),
            box_head=TwoMLPHead(64 * 5**2, 128),
            box_predictor=FastRCNNPredictor(128, num_classes),
            box_batch_size_per_image=32,
        )
        self.num_classes = num_classes
        for name in ("backbone", "rpn.head.conv", "roi_heads.box_head"):
            he_normal_(self.get_submodule(name))
        if coordinates:
            to_coordconv(self, ["backbone.0", "rpn.head.conv.0.0", "rpn.head.bbox_pred"])
        add_image_frames(self, multiple=32)  # as torchvision pads; the one level has a stride of 4
        self.to(memory_format=torch.channels_last)


def _cell_anchors(first: int) -> Tensor:
    """Return the nine anchors (9, 4) of the first cell, centred at pixel ``first``."""
    half = torch.tensor(SIDES).flip(1) / 2  # x, y
    return torch.cat([first - half, first + half], dim=1)


def _anchors(first: int) -> AnchorGenerator:
    """Return the generator of the nine anchors of each cell, the first cell's centred at pixel ``first``."""
    generator = AnchorGenerator(sizes=((1.0,) * len(SIDES),), aspect_ratios=((1.0,),))  # as many as there are sides
    generator.cell_anchors = [_cell_anchors(first)]  # torchvision's own anchors have ratios, and whole numbers here
    return generator


def _rows(maps: Tensor, numbers: int) -> Tensor:
    """Turn maps (B, 9 * numbers, h, w) into rows (B, h * w * 9, numbers), in the order of torchvision's anchors."""
    return maps.permute(0, 2, 3, 1).reshape(len(maps), -1, numbers)
