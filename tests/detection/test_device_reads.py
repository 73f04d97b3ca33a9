"""Tests that the host waits for the device in a detector's training step only where torchvision's code does."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from lightning_coordconv.detection import (
    Detector,
    DigitFasterRCNN,
    FieldOfMnistDataModule,
    ObjectDetection,
    RegionProposal,
    RegionProposalNet,
)
from tests.classification.test_task import quiet
from tests.device_reads import device_reads

TORCHVISION = {
    "aten::nonzero": "which anchors are positive, negative, large or sure enough, as lists of their numbers",
    "aten::index": "rows of the anchors, boxes and logits that a mask selects",
    "aten::_local_scalar_dense": "whether a true box has no area; the size that is drawn for an image; counts",
    "item": "the size that is drawn for an image, and the number of positives of FCOS",
    "__bool__": "whether a true box has no area",
}
"""What torchvision's detectors read in a training step, and why. Their losses are over as many rows as there are."""
ON_THE_HOST = {
    ("numpy", "core/labels.py:<listcomp>"): "labels on the host, looked at before they are moved",
    ("aten::_local_scalar_dense", "layers/frames.py:_check"): "sizes of images, which are tensors on the host",
    ("__bool__", "layers/frames.py:_check"): "sizes of images, which are tensors on the host",
}


def sgd(groups: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=0.001, momentum=0.9)


def step(task: Any, batch: dict[str, Any], folder: Any) -> Callable[[], None]:
    """Return a training step without the trainer's own part: forward, loss, metrics, backward, optimiser."""
    task.train()
    task.trainer = quiet(folder)
    task.log = task.log_dict = lambda *args, **kwargs: None
    optimizer = task.configure_optimizers()

    def run() -> None:
        loss = task.training_step(batch, 0)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    run()  # what is made at first use is there in the second step
    return run


def digits(device: str = "cpu") -> dict[str, Any]:
    data = FieldOfMnistDataModule(num_images=8, num_eval_images=1, keep_outside=True, batch_size=8)
    batch = next(iter(data.train_dataloader()))
    return {key: value if key == "image_id" else _to(value, device) for key, value in batch.items()}


def _to(value: Any, device: str) -> Any:
    return [tensor.to(device) for tensor in value] if isinstance(value, list) else value.to(device)


FEW = {
    "min_size": 64, "max_size": 96, "rpn_pre_nms_top_n_train": 100, "rpn_post_nms_top_n_train": 50,
    "box_batch_size_per_image": 32,
}  # fmt: skip
"""Options with which a step takes seconds."""
OPTIONS = [{}, {"match_unseen": True, "sampling": "pairs", "clip": True}, {"box_loss": "smooth_l1"}]


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_region_proposals_read_nothing(tmp_path, options):
    run = step(RegionProposal(RegionProposalNet(), optimizer=sgd, **options), digits(), tmp_path)
    with device_reads() as found:
        run()
    assert found == set()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a card")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_region_proposals_never_wait_for_a_card(tmp_path, options):
    task = RegionProposal(RegionProposalNet(), optimizer=sgd, **options).cuda()
    run = step(task, digits("cuda"), tmp_path)
    before = [weight.clone() for weight in task.parameters()]
    torch.cuda.set_sync_debug_mode("error")
    try:
        run()  # a wait is an error
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert not all(torch.equal(*pair) for pair in zip(before, task.parameters(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    "build",
    [
        DigitFasterRCNN,
        lambda: Detector("fasterrcnn_mobilenet_v3_large_fpn", 11, "pp_yolo", options={"min_size": 64, "max_size": 96}),
        lambda: Detector("retinanet_resnet50_fpn_v2", 11, "stem", options={"min_size": 64, "max_size": 96}),
        lambda: Detector("fcos_resnet50_fpn", 11, "pp_yolo", options={"min_size": 64, "max_size": 96}),
        lambda: Detector("maskrcnn_resnet50_fpn", 11, "pp_yolo", options=FEW),
        lambda: Detector("keypointrcnn_resnet50_fpn", 11, "pp_yolo", options=FEW),
    ],
    ids=["small faster_rcnn", "faster_rcnn", "retinanet", "fcos", "mask_rcnn", "keypoint_rcnn"],
)
def test_only_torchvision_reads_in_a_step_of_its_detectors(tmp_path, build):
    net: nn.Module = build()
    batch = digits() if isinstance(net, DigitFasterRCNN) else photographs()
    batch["boxes"] = [boxes.clamp(0, 60) for boxes in batch["boxes"]]
    batch["labels"] = [
        labels[keep] for labels, keep in zip(batch["labels"], map(has_area, batch["boxes"]), strict=True)
    ]
    batch["boxes"] = [boxes[has_area(boxes)] for boxes in batch["boxes"]]
    run = step(ObjectDetection(net, optimizer=sgd), batch, tmp_path)
    with device_reads() as found:
        run()
    ours = {
        (operator, place)
        for operator, place in found - ON_THE_HOST.keys()
        if operator not in TORCHVISION or place not in ("detection/torchvision_detectors.py:forward",
                                                        "detection/task.py:training_step", "elsewhere")
    }  # fmt: skip
    assert ours == set()
    assert found - ON_THE_HOST.keys(), "torchvision reads no more: drop the list"


def photographs() -> dict[str, Any]:
    """Two images of different sizes, one without objects."""
    return {
        "image": [torch.rand(3, 64, 96), torch.rand(3, 80, 64)],
        "boxes": [torch.tensor([[5.0, 5.0, 30.0, 30.0]]), torch.zeros(0, 4)],
        "labels": [torch.tensor([1]), torch.zeros(0, dtype=torch.int64)],
        "masks": [torch.ones(1, 64, 96, dtype=torch.uint8), torch.zeros(0, 80, 64, dtype=torch.uint8)],
        "keypoints": [torch.tensor([[[9.0, 9.0, 2.0]] * 17]), torch.zeros(0, 17, 3)],
    }


def has_area(boxes: torch.Tensor) -> torch.Tensor:
    return (boxes[:, 2:] > boxes[:, :2]).all(1)
