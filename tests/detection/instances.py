"""Small Mask and Keypoint R-CNNs for tests, and a function that writes images of shapes with a COCO file of targets."""

import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import nn
from torchvision.models.detection import KeypointRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

from lightning_coordconv import to_coordconv
from lightning_coordconv.detection import use_image_frames

NAMES = ("left_tip", "right_tip", "middle")


def _common() -> dict[str, Any]:
    layers = []
    for inputs in (3, 32, 32):
        layers += [nn.Conv2d(inputs, 32, 3, stride=2 if inputs == 3 else 1, padding=1), nn.ReLU()]
    backbone = nn.Sequential(*layers, nn.MaxPool2d(2))
    backbone.out_channels = 32
    return {
        "backbone": backbone, "min_size": 48, "max_size": 96, "image_mean": [0.5] * 3, "image_std": [0.25] * 3,
        "rpn_anchor_generator": AnchorGenerator(((12, 20, 28),), ((0.5, 1.0, 2.0),)),
        "rpn_pre_nms_top_n_train": 100, "rpn_post_nms_top_n_train": 30, "rpn_pre_nms_top_n_test": 100,
        "rpn_post_nms_top_n_test": 20, "box_roi_pool": MultiScaleRoIAlign(["0"], 5, 2),
        "box_head": TwoMLPHead(32 * 25, 64), "box_predictor": FastRCNNPredictor(64, 3),
        "box_batch_size_per_image": 32, "box_detections_per_img": 8,
    }  # fmt: skip


class TinyMaskRCNN(MaskRCNN):
    """Mask R-CNN of 0.2 million parameters, with coordinates in its first layer."""

    num_classes = 3
    targets = frozenset({"masks"})

    def __init__(self) -> None:
        pool = MultiScaleRoIAlign(["0"], 10, 2)
        head, predictor = MaskRCNNHeads(32, [32, 32], 1), MaskRCNNPredictor(32, 32, 3)
        super().__init__(**_common(), mask_roi_pool=pool, mask_head=head, mask_predictor=predictor)
        to_coordconv(self.backbone, "first")
        use_image_frames(self, multiple=32)


class TinyKeypointRCNN(KeypointRCNN):
    """Keypoint R-CNN of 0.2 million parameters, with coordinates in its first layer."""

    num_classes = 3
    num_keypoints = len(NAMES)
    targets = frozenset({"keypoints"})

    def __init__(self) -> None:
        pool = MultiScaleRoIAlign(["0"], 10, 2)
        head, predictor = KeypointRCNNHeads(32, [32, 32]), KeypointRCNNPredictor(32, len(NAMES))
        super().__init__(**_common(), keypoint_roi_pool=pool, keypoint_head=head, keypoint_predictor=predictor)
        to_coordconv(self.backbone, "first")
        use_image_frames(self, multiple=32)


def write_shapes(folder: Path, sizes: tuple[tuple[int, int], ...] = ((48, 48),) * 6) -> Path:
    """Draw a triangle or a diamond on each image, white with a red left tip and a blue right tip; return the folder.

    Args:
        folder: receives images of these sizes (width, height) and ``shapes.json``.
    """
    generator = torch.Generator().manual_seed(0)
    images, annotations = [], []
    for number, (width, height) in enumerate(sizes):
        x, y = (int(torch.randint(2, side - 30, (1,), generator=generator)) for side in (width, height))
        w, h = (int(torch.randint(18, 28, (1,), generator=generator)) for _ in "wh")
        top = [(x + w // 2, y)] if number % 2 else [(x, y)]
        corners = [(x, y + h // 2), *top, (x + w, y + h // 2), (x + w // 2, y + h)]
        image = Image.new("RGB", (width, height), (40, 60, 40))
        draw = ImageDraw.Draw(image)
        draw.polygon(corners, fill="white")
        for (cx, cy), colour in ((corners[0], "red"), (corners[-2], "blue")):
            draw.ellipse((cx - 2, cy - 2, cx + 2, cy + 2), fill=colour)
        name = f"{number}.png"
        image.save(folder / name)
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        middle = (x + w / 2, y + h / 2)
        annotations.append({
            "id": number + 1, "image_id": number, "category_id": 1 + number % 2, "bbox": [x, y, w, h],
            "area": w * h / 2, "iscrowd": 0, "segmentation": [[edge for corner in corners for edge in corner]],
            "keypoints": [value for point in (corners[0], corners[-2], middle) for value in (*point, 2)],
            "num_keypoints": 3,
        })  # fmt: skip
    skeleton = {"keypoints": list(NAMES), "skeleton": [[1, 3], [3, 2]]}
    categories = [{"id": 1, "name": "kite", **skeleton}, {"id": 2, "name": "diamond", **skeleton}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "shapes.json").write_text(json.dumps(content))
    return folder
