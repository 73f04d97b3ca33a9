"""Tests of Mask and Keypoint R-CNNs: learning, predictions, exports, coordinates, drawing, and data without targets."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from pytorch_lightning import seed_everything
from torchvision.models import get_model

from lightning_coordconv import coordconv_layers
from lightning_coordconv.detection import (
    CocoDetectionDataModule,
    CocoResults,
    DetectionPredictor,
    Detector,
    FieldOfMnistDataModule,
    ObjectDetection,
    Skeleton,
    load,
)
from lightning_coordconv.detection.boxes import PREDICTED, TRUE, draw_boxes
from tests.classification.test_task import quiet
from tests.detection.instances import NAMES, TinyKeypointRCNN, TinyMaskRCNN, write_shapes
from tests.run_lengths import compressed, runs_of

KINDS = {"masks": TinyMaskRCNN, "keypoints": TinyKeypointRCNN}
SIZES = {"min_size": 64, "max_size": 96}


def task(kind: str, net: Any = None) -> ObjectDetection:
    sigmas = [0.1] * 3 if kind == "keypoints" else None
    build = lambda groups: torch.optim.AdamW(groups, lr=0.003)  # noqa: E731
    return ObjectDetection(net or KINDS[kind](), optimizer=build, keypoint_sigmas=sigmas)


def data(folder: Path, kind: str, **options: Any) -> CocoDetectionDataModule:
    options = {"batch_size": 6, "num_workers": 0, "train_transforms": []} | options
    return CocoDetectionDataModule(str(folder), "shapes.json", "shapes.json", targets=[kind], **options)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("shapes"))


@pytest.fixture(scope="module", params=sorted(KINDS))
def trained(request, shapes, tmp_path_factory) -> tuple[str, ObjectDetection, Path]:
    """Return the kind, the task that was trained on six images, and its checkpoint."""
    kind, folder = request.param, tmp_path_factory.mktemp("trained")
    torch.set_num_threads(1)
    seed_everything(0)
    net = task(kind)
    run = quiet(folder, max_epochs=90, limit_val_batches=0, gradient_clip_val=1.0)
    run.fit(net, data(shapes, kind))
    run.save_checkpoint(folder / "last.ckpt", weights_only=False)
    return kind, net, folder / "last.ckpt"


@pytest.mark.slow
def test_it_learns_six_images(trained, shapes, tmp_path):
    kind, net, _ = trained
    (result,) = quiet(tmp_path).test(net, data(shapes, kind), verbose=False)
    names = ("map_50", "segm_map_50" if kind == "masks" else "keypoints_map_50")
    assert all(result[f"test/{name}"] > 0.8 for name in names), result
    assert result[f"test/{names[1].removesuffix('_50')}"] > 0.5


@pytest.mark.slow
def test_predictions_are_those_of_trainer_predict(trained, shapes, tmp_path):
    kind, net, checkpoint = trained
    model = load(checkpoint, device="cpu", net=KINDS[kind]())
    found = model.predict([shapes / f"{number}.png" for number in range(6)], threshold=0.0)
    module = data(shapes, kind)
    results = quiet(tmp_path, callbacks=[CocoResults(num_overlays=1)])
    batches = results.predict(net, module)
    boxes = json.loads((tmp_path / "detections.json").read_text())
    key, name = ("segmentation", "segmentations.json") if kind == "masks" else ("keypoints", "keypoints.json")
    rows = json.loads((tmp_path / name).read_text())
    assert {path.name for path in tmp_path.glob("*.json")} == {"detections.json", name}
    assert [row.keys() for row in (boxes[0], rows[0])] == [
        {"image_id", "file_name", "category_id", what, "score"} for what in ("bbox", key)
    ]
    assert len(boxes) == len(rows)
    expected = [detections for batch in batches for detections in batch]
    assert sum(len(own["boxes"]) for own in expected) == len(rows) > 6
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.scores.tolist() == pytest.approx(theirs["scores"].tolist(), abs=1e-5)
        torch.testing.assert_close(mine.boxes, theirs["boxes"], atol=1e-3, rtol=1e-4)
        if kind == "masks":
            assert mine.masks.dtype == torch.bool
            assert mine.masks.shape == (len(mine), 48, 48)
            assert (mine.masks != theirs["masks"]).float().mean() < 0.001
            assert mine.keypoints is None
        else:
            torch.testing.assert_close(mine.keypoints, theirs["keypoints"], atol=1e-3, rtol=1e-4)
            assert mine.keypoint_scores.shape == mine.keypoints.shape[:2] == (len(mine), 3)
            assert mine.masks is None
            assert mine.skeleton == Skeleton(NAMES, ((0, 2), (2, 1)))
    if kind == "masks":
        masks = torch.cat([own["masks"] for own in expected])
        truth = COCO(str(shapes / "shapes.json"))
        evaluation = COCOeval(truth, truth.loadRes(str(tmp_path / name)), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        (result,) = quiet(tmp_path).test(net, module, verbose=False)
        values = [result[f"test/segm_map{part}"] for part in ("", "_50", "_75", "_small", "_medium", "_large")]
        expected_values = [math.nan if value < 0 else value for value in evaluation.stats[:6].tolist()]
        assert values == pytest.approx(expected_values, abs=1e-6, nan_ok=True)  # by the areas of masks, not of boxes
        assert [row["segmentation"]["counts"] for row in rows] == [compressed(runs_of(mask.numpy())) for mask in masks]
    else:
        points = torch.cat([own["keypoints"] for own in expected]).flatten(1)
        assert [row["keypoints"] for row in rows] == points.tolist()
    assert len(list((tmp_path / "overlays").iterdir())) == 1
    bare = dataclasses.replace(found[0], masks=None, keypoints=None)
    assert (np.asarray(found[0].plot()) != np.asarray(bare.plot())).any()  # masks and keypoints are drawn


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the exporter's own code
def test_exports_compute_what_the_network_computes(trained, shapes, tmp_path):
    kind, net, _ = trained
    path = tmp_path / "net.onnx"
    assert DetectionPredictor(net).export(path, (48, 48), images=[shapes / "0.png", shapes / "1.png"]) < 1e-3
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["boxes", "labels", "scores", kind]
    described = json.loads(session.get_modelmeta().custom_metadata_map["lightning_coordconv"])
    assert described.get("skeleton", {}).get("names", []) == (list(NAMES) if kind == "keypoints" else [])


@torch.no_grad()
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_an_image_has_the_same_objects_in_any_batch(kind):
    torch.manual_seed(0)
    net = KINDS[kind]().eval().double()
    net.roi_heads.score_thresh = 0.0
    images = [torch.rand(3, *size, dtype=torch.float64) for size in ((48, 48), (48, 80), (64, 50))]
    together = net(images)
    for image, found in zip(images, together, strict=True):
        (alone,) = net([image])
        assert len(alone["boxes"]) > 3
        for key, values in alone.items():
            torch.testing.assert_close(found[key], values, atol=1e-6, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "target", "new"),
    [
        ("maskrcnn_resnet50_fpn", "masks", "mask_predictor.mask_fcn_logits.bias"),
        ("maskrcnn_resnet50_fpn_v2", "masks", "mask_predictor.mask_fcn_logits.bias"),
        ("keypointrcnn_resnet50_fpn", "keypoints", "keypoint_predictor.kps_score_lowres.bias"),
    ],
)
def test_torchvision_s_networks_take_coordinates_and_weights(name, target, new, tmp_path):
    """Weights of another number of classes, and of keypoints, are loaded but for the layers that predict them."""
    before, after = ({"num_keypoints": number} if target == "keypoints" else {} for number in (4, 3))
    theirs = get_model(name, weights=None, weights_backbone=None, num_classes=5, **before)
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    net = Detector(name, 3, "pp_yolo", str(tmp_path / "weights.pth"), options=after)
    blocks = [f"backbone.fpn.inner_blocks.{level}.0" for level in range(4)]
    assert list(coordconv_layers(net.detector)) == [*blocks, "rpn.head.conv.0.0"]
    assert (net.targets, net.num_keypoints) == ({target}, 3 if target == "keypoints" else 0)
    found, given = net.detector.roi_heads.state_dict(), theirs.roi_heads.state_dict()
    assert len(found[new]) == 3
    other = [key for key in given if not key.startswith(("box_predictor", new.rpartition(".")[0]))]
    assert len(other) > 10
    assert all(torch.equal(found[key], given[key]) for key in other)


def test_detectors_of_boxes_need_nothing_else():
    net = Detector("fasterrcnn_mobilenet_v3_large_320_fpn", 3)
    assert (net.targets, net.num_keypoints) == (frozenset(), 0)
    assert ObjectDetection(net).sample_keys == {"image", "boxes", "labels", "image_id"}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_data_without_the_targets_are_refused(kind, shapes, tmp_path):
    assert task(kind).sample_keys == {"image", "boxes", "labels", "image_id", kind}
    plain = CocoDetectionDataModule(str(shapes), "shapes.json", "shapes.json", num_workers=0)
    with pytest.raises(ValueError, match=f"the network needs {kind} of each object, but the samples have area, boxes,"):
        quiet(tmp_path, max_epochs=1, limit_val_batches=0).fit(task(kind), plain)


@pytest.mark.slow
def test_the_command_line_names_missing_targets(cli, shapes, capsys):
    options = ("--data.root", str(shapes), "--data.train_annotations=shapes.json", "--data.val_annotations=shapes.json")
    network = ("--model.net.init_args.weights=", "--model.net.init_args.name=maskrcnn_resnet50_fpn")
    with pytest.raises(SystemExit) as caught:
        cli("fit", "-c", "detection/coco_conv", *options, *network, "--data.train_images=.", "--data.val_images=.")
    assert caught.value.code == 2
    assert "ObjectDetection reads ['masks'], which the samples of CocoDetectionDataModule do not have" in (
        capsys.readouterr().err
    )


def test_other_numbers_of_keypoints_are_named(shapes, tmp_path):
    net = TinyKeypointRCNN()
    net.num_keypoints = 17
    run = quiet(tmp_path, max_epochs=1, limit_val_batches=0)
    with pytest.raises(ValueError, match=r"the network has 17 keypoints, but the data has 3: set its options"):
        run.fit(ObjectDetection(net), data(shapes, "keypoints"))
    with pytest.raises(ValueError, match=r"the network has 3 keypoints, but there are 17 sigmas: set keypoint_sigmas"):
        ObjectDetection(TinyKeypointRCNN())


@pytest.mark.parametrize(("kind", "other"), [("masks", "keypoints"), ("keypoints", "masks")])
def test_targets_that_the_network_does_not_learn_are_refused(kind, other, shapes, tmp_path):
    """As of a config for masks, of which another one replaces the network."""
    both = CocoDetectionDataModule(
        str(shapes), "shapes.json", "shapes.json", targets=[kind, other], batch_size=2, num_workers=0
    )
    with pytest.raises(ValueError, match=rf"the data has the targets {other}, which the network does not learn"):
        quiet(tmp_path, max_epochs=1).fit(task(kind), both)


def test_digits_have_no_masks():
    assert not task("masks").sample_keys <= FieldOfMnistDataModule.sample_keys


def test_masks_and_keypoints_are_drawn_in_the_colour_of_their_box():
    mask = torch.zeros(1, 20, 30, dtype=torch.uint8)
    mask[0, 5:15, 5:25] = 1
    box = {"boxes": torch.tensor([[5.0, 5, 25, 15]]), "labels": torch.tensor([1]), "masks": mask}
    points = torch.tensor([[[5.0, 10, 2], [25, 10, 1], [0, 0, 0]]])
    sample = box | {"image": torch.zeros(3, 20, 30), "keypoints": points}
    predicted = box | {"scores": torch.tensor([0.9]), "keypoints": points}
    figure = draw_boxes(sample | {"predicted": predicted}, {1: (1, "cat")}, bones=((0, 1), (1, 2)))
    (axes,) = figure.axes
    for image, colour in zip(axes.get_images()[1:], (TRUE, PREDICTED), strict=True):
        paint = image.get_array()
        assert (paint[5:15, 5:25, 3] > 0).all()
        assert paint[..., 3].sum() == pytest.approx(200 * paint[6, 6, 3])
        assert colour in (TRUE, PREDICTED)
    lines = [(line.get_color(), list(map(float, line.get_xdata()))) for line in axes.lines]
    assert lines == [(colour, xs) for colour in (TRUE, PREDICTED) for xs in ([5.0, 25.0], [5.0], [25.0])]
    assert [line.get_markerfacecolor() for line in axes.lines[1:3]] == [TRUE, "none"]
