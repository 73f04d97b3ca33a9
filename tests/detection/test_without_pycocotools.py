"""Tests that a detector is loaded, used and exported without pycocotools, and refused in training and evaluation."""

import json
import sys
from pathlib import Path

import pytest
import torch

from lightning_coordconv.detection import CocoDetectionDataModule, Detector, ObjectDetection, load
from lightning_coordconv.runtime.cli import main
from tests.classification.test_task import quiet
from tests.detection.annotations import write
from tests.detection.test_image_frames import MOBILE, SMALL, shaken
from tests.runtime.exports import save

OPTIONS = SMALL | {"box_score_thresh": 0.0, "box_detections_per_img": 20}
COMMAND = (
    "-c", "detection/coco_coordconv", "--data.root=.", "--data.train_annotations=boxes.json", "--data.train_images=.",
    "--data.val_annotations=boxes.json", "--data.val_images=.", "--data.num_workers=0", "--trainer.precision=32-true",
    f"--model.net.init_args.name={MOBILE}", "--model.net.init_args.coordinates=stem",
    "--model.net.init_args.weights=null", f"--model.net.init_args.options={json.dumps(OPTIONS)}",
)  # fmt: skip
pytestmark = pytest.mark.slow


@pytest.fixture
def trained(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of images with a checkpoint of a detector of their two classes, in a process without pycocotools."""
    write(folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["lightning-coordconv"])
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    task = ObjectDetection(shaken(Detector(MOBILE, 3, "stem", options=OPTIONS)))
    save(task, folder / "detector.ckpt", categories=[[7, "cat"], [9, "cup"]])
    return folder


def test_a_checkpoint_is_loaded_used_and_exported(trained):
    model = load("detector.ckpt")
    assert len(model.predict("a.png", threshold=0.0))
    model.export("detector.onnx", (60, 80), images=".")
    assert (trained / "detector.onnx").is_file()


def test_the_command_predicts(trained):
    main(["predict", *COMMAND, "--ckpt_path=detector.ckpt"])
    (found,) = trained.glob("logs/**/detections.json")
    assert {row["file_name"] for row in json.loads(found.read_text())} == {"a.png", "b.png"}


@pytest.mark.parametrize("name", ["fit", "validate", "test"])
def test_the_other_commands_say_what_they_need(trained, name):
    weights = [] if name == "fit" else ["--ckpt_path=detector.ckpt"]
    with pytest.raises(SystemExit) as end:
        main([name, *COMMAND, *weights])
    assert end.value.code == "error: COCO's metrics need pycocotools: pip install 'lightning-coordconv[detection]'"
    assert not (trained / "logs").exists()


def test_a_loaded_detector_is_refused_before_it_is_trained(trained):
    task = ObjectDetection.load_from_checkpoint(trained / "detector.ckpt")
    weights = {name: value.clone() for name, value in task.state_dict().items()}
    data = CocoDetectionDataModule(str(trained), "boxes.json", "boxes.json", num_workers=0)
    for kind in ("fit", "validate", "test"):
        with pytest.raises(ModuleNotFoundError, match="COCO's metrics need pycocotools: pip install"):
            getattr(quiet(trained, max_epochs=1), kind)(task, data)
    torch.testing.assert_close(dict(task.state_dict()), weights)
