"""Test that a detector's metrics on COCO files are those that pycocotools finds for its written predictions."""

import json
import math
from pathlib import Path

import pytest
import torch
import yaml
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.models import mobilenet_v3_large

from tests.detection.test_task import NAMES


def config(photographs: Path, weights: Path) -> dict[str, object]:
    """A small detector from scratch, whose batch normalisation is frozen like that of a pretrained one."""
    net = {
        "name": "fasterrcnn_mobilenet_v3_large_fpn",
        "num_classes": 6,
        "coordinates": "pp_yolo",
        "weights_backbone": str(weights),
        "options": {"min_size": 96, "max_size": 160, "rpn_post_nms_top_n_train": 100, "box_batch_size_per_image": 64},
    }
    return {
        "model": {
            "class_path": "ObjectDetection",
            "init_args": {
                "net": {"class_path": "lightning_coordconv.detection.Detector", "init_args": net},
                "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.001}},
            },
        },
        "data": {
            "class_path": "CocoDetectionDataModule",
            "init_args": {"root": str(photographs), "train_annotations": "boxes.json", "val_annotations": "boxes.json",
                          "train_transforms": [], "batch_size": 1, "num_workers": 0},
        },
        "trainer": {
            "max_epochs": 20, "check_val_every_n_epoch": 20, "gradient_clip_val": 5.0, "num_sanity_val_steps": 0,
            "enable_progress_bar": False, "log_every_n_steps": 1, "accelerator": "cpu",
            "callbacks": [{"class_path": "lightning_coordconv.detection.CocoResults"}],
        },
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The dirpath has changed:UserWarning")  # a prediction logs to a new version
def test_round_trip(cli, tmp_path, photographs):
    torch.manual_seed(0)
    torch.save(mobilenet_v3_large(weights=None).state_dict(), tmp_path / "mobilenet.pth")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config(photographs, tmp_path / "mobilenet.pth")))
    cli("fit", "-c", tmp_path / "config.yaml")
    (summary,) = tmp_path.rglob("summary.json")
    tested = json.loads(summary.read_text())["test"]
    assert tested["test/map"] > 0.05  # some boxes are right, and some are wrong

    cli("predict", "-c", tmp_path / "config.yaml", "--ckpt_path", next(tmp_path.rglob("last.ckpt")))
    (results,) = tmp_path.rglob("detections.json")
    truth = COCO(str(photographs / "boxes.json"))
    evaluation = COCOeval(truth, truth.loadRes(str(results)), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    expected = [math.nan if value < 0 else value for value in evaluation.stats.tolist()]
    found = [tested[f"test/{name}"] for name in NAMES]
    assert [math.nan if value is None else value for value in found] == pytest.approx(expected, abs=1e-6, nan_ok=True)
    assert {path.name for path in results.parent.glob("overlays/*.png")} == {
        "10_china.png", "20_flower.png", "30_hopper.png"
    }  # fmt: skip
