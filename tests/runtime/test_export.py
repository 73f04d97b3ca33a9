"""Tests of the command ``export``: files compute what the network computes, in every domain; refused exports."""

import json
import os
import re
from pathlib import Path

import gymnasium
import onnx
import onnxruntime
import pytest
import stable_baselines3
import torch
from torch import nn

from lightning_coordconv import coordconv_layers, coordinate_frame
from lightning_coordconv.classification import (
    ImageClassification,
    PooledClassifier,
)
from lightning_coordconv.core.export import Exportable, ExportError, export
from lightning_coordconv.core.task import BaseTask
from lightning_coordconv.detection import (
    DetectionPredictor,
    Detector,
    ObjectDetection,
    RegionProposal,
    RegionProposalNet,
)
from lightning_coordconv.detection import load as load_detector
from lightning_coordconv.generative import GAN, ConvDiscriminator, CoordConvGenerator, GenerativePredictor
from lightning_coordconv.rl import A2C, EnvironmentDataModule, SmallCNN
from lightning_coordconv.runtime.cli import main
from lightning_coordconv.segmentation import SegmentationNetwork, SemanticSegmentation
from tests.classification.test_task import quiet
from tests.detection.test_image_frames import shaken as at_random
from tests.detection.test_torchvision_detectors import MOBILE, SMALL
from tests.full_disk import full_disk
from tests.rl.agents import data as environments
from tests.rl.agents import trainer

NAMES = ["a", "b", "c", "d"]
PREPARED = {"channels": 3, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]}


def shaken(net: nn.Module) -> nn.Module:
    """Give coordinates weights that matter."""
    for layer in coordconv_layers(net).values():
        nn.init.normal_(layer.coord_weight)
    return net.eval()


def save(task, path: Path, **inference) -> Path:
    """Write a checkpoint as a run of the task would."""
    task.inference = inference
    run = quiet(path.parent)
    run.strategy.connect(task)
    run.save_checkpoint(path)
    return path


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = shaken(PooledClassifier(4, coordinates=True, channels=3))
    path = tmp_path_factory.mktemp("classifier") / "last.ckpt"
    return save(ImageClassification(net), path, class_names=NAMES, preprocessing=PREPARED)


def run(path: Path, *inputs: torch.Tensor) -> list[torch.Tensor]:
    """Run a file without the package's own code."""
    if path.suffix == ".pt2":
        found = torch.export.load(path).module()(*inputs)
        return list(found) if isinstance(found, tuple) else [found]
    session = onnxruntime.InferenceSession(path)
    names = [entry.name for entry in session.get_inputs()]
    return [
        torch.from_numpy(array)
        for array in session.run(None, {name: value.numpy() for name, value in zip(names, inputs, strict=True)})
    ]


def probabilities(path: Path, image: torch.Tensor) -> torch.Tensor:
    """Return what the package predicts for each image of a batch."""
    from lightning_coordconv.classification import load

    found = load(path, device="cpu").predict(image)
    return torch.tensor([[result.probabilities[name] for name in NAMES] for result in found])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.onnx", "model.pt2"])
def test_a_file_for_any_size_computes_what_the_network_computes(classifier, tmp_path, capsys, name):
    out = tmp_path / "new" / name
    main(["export", str(classifier), str(out)])
    assert f"Wrote {out}. Its outputs differ from the network's by " in capsys.readouterr().out
    for shape in ((1, 3, 33, 70), (4, 3, 100, 40)):
        image = torch.rand(shape)
        torch.testing.assert_close(run(out, image)[0], probabilities(classifier, image), rtol=1e-4, atol=1e-6)
    assert [path.name for path in out.parent.iterdir()] == [name]


@pytest.mark.slow
def test_a_file_for_one_size_is_folded_and_refuses_others(classifier, tmp_path):
    out = tmp_path / "model.onnx"
    main(["export", str(classifier), str(out), "--size", "40", "50"])
    image = torch.rand(3, 3, 40, 50)
    torch.testing.assert_close(run(out, image)[0], probabilities(classifier, image), rtol=1e-4, atol=1e-6)
    with pytest.raises(Exception, match="Got invalid dimensions"):
        run(out, torch.rand(3, 3, 50, 40))
    model = onnx.load(out)
    described = json.loads({entry.key: entry.value for entry in model.metadata_props}["lightning_coordconv"])
    assert described["class_names"] == NAMES
    assert described["preprocessing"]["mean"] == PREPARED["mean"]
    assert "Range" not in {node.op_type for node in model.graph.node}


@pytest.mark.slow
def test_the_crop_of_the_preprocessing_fixes_the_size(tmp_path):
    net = shaken(PooledClassifier(4, coordinates=True, channels=3))
    path = save(ImageClassification(net), tmp_path / "a.ckpt", preprocessing=PREPARED | {"resize": 48, "crop": 40})
    main(["export", str(path), str(tmp_path / "model.onnx")])
    assert run(tmp_path / "model.onnx", torch.rand(2, 3, 40, 40))[0].shape == (2, 4)
    with pytest.raises(Exception, match="Got invalid dimensions"):
        run(tmp_path / "model.onnx", torch.rand(2, 3, 48, 48))


@pytest.mark.slow
def test_label_maps_of_any_size(tmp_path):
    net = shaken(SegmentationNetwork("lraspp_mobilenet_v3_large", 3, coordinates="first"))
    path = save(SemanticSegmentation(net, 3), tmp_path / "a.ckpt", class_names=["a", "b", "c"], preprocessing=PREPARED)
    main(["export", str(path), str(tmp_path / "model.pt2")])
    image = torch.rand(1, 3, 90, 130)
    (logits,) = run(tmp_path / "model.pt2", image)
    from lightning_coordconv.segmentation import load

    assert torch.equal(logits.argmax(1)[0].to(torch.uint8), load(path, device="cpu").predict(image[0]).labels)


@pytest.mark.slow
def test_generated_images(tmp_path):
    task = GAN(CoordConvGenerator(6, 16, 2), ConvDiscriminator(16, 2), latent_size=6)
    model = GenerativePredictor(task, device="cpu")
    for name in ("generator.onnx", "generator.pt2"):
        model.export(tmp_path / name)
        found = model.sample(5)
        torch.testing.assert_close(run(tmp_path / name, found.latents)[0], found.images, rtol=1e-4, atol=1e-5)
    with pytest.raises(ExportError, match="makes images of 16 x 16 pixels, and no others"):
        model.export(tmp_path / "generator.onnx", size=(8, 8))


def test_a_coordinate_frame_around_an_export_is_no_part_of_the_file(tmp_path):
    task = GAN(CoordConvGenerator(6, 16, 2), ConvDiscriminator(16, 2), latent_size=6)
    model = GenerativePredictor(task, device="cpu")
    with coordinate_frame((8, 8), (32, 32), crop=(16, 16)):
        inside = model.sample(5)
        model.export(tmp_path / "generator.pt2")
    found = model.sample(5)
    assert not torch.allclose(inside.images, found.images)
    torch.testing.assert_close(run(tmp_path / "generator.pt2", found.latents)[0], found.images, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("mask_padding", [True, False])
def test_a_detector_for_one_size_finds_what_the_detector_finds(tmp_path, mask_padding):
    """Also at a size that the detector pads, with the coordinates of the unpadded image."""
    options = SMALL | {"box_score_thresh": 0.0, "box_detections_per_img": 20}
    net = at_random(Detector(MOBILE, 3, "stem", mask_padding=mask_padding, options=options))
    path = save(ObjectDetection(net), tmp_path / "a.ckpt", categories=[[1, "hat"], [2, "tree"]])
    out = tmp_path / "model.onnx"
    main(["export", str(path), str(out), "--size", "70", "90"])
    image = torch.rand(3, 70, 90)
    expected = load_detector(path, device="cpu").predict(image, threshold=0.0)
    boxes, labels, scores = run(out, image)
    assert len(expected) == 20
    # In a network of random weights rounding decides which of two nearly equal proposals is suppressed: a change of an
    # input by 1e-7 moves a box by as much as a pixel.
    moved = (boxes - expected.boxes).abs().amax(1)
    assert moved.max() < 3
    assert (moved < 0.1).float().mean() >= 0.8
    torch.testing.assert_close(scores, expected.scores, rtol=1e-3, atol=1e-3)
    assert torch.equal(labels, expected.labels)
    with pytest.raises(Exception, match="Got invalid dimensions"):
        run(out, torch.rand(3, 90, 70))


@pytest.mark.slow
def test_proposals(tmp_path, photographs):
    task = RegionProposal(shaken(RegionProposalNet()))
    model = DetectionPredictor(task, device="cpu")
    model.preprocessing = type(model.preprocessing)(channels=1)
    model.export(tmp_path / "proposals.onnx", size=(64, 64), images=photographs)
    image = torch.rand(1, 64, 64)
    expected = model.predict(image, threshold=0.0)
    torch.testing.assert_close(run(tmp_path / "proposals.onnx", image)[0], expected.boxes, rtol=1e-3, atol=0.1)


@pytest.mark.slow
def test_a_detector_that_finds_nothing_is_not_exported_unchecked(tmp_path, capsys):
    net = shaken(Detector(MOBILE, 3, "none", options=SMALL | {"box_score_thresh": 1.0}))
    path = save(ObjectDetection(net), tmp_path / "a.ckpt")
    assert_refused(capsys, [path, tmp_path / "a.onnx", "--size", "64", "64"], "nothing was compared.*--images")


@pytest.mark.filterwarnings("ignore::UserWarning:stable_baselines3")
def test_an_agent_becomes_a_zip_of_stable_baselines3(tmp_path, capsys):
    task = A2C(20, policy_kwargs={"features_extractor_class": SmallCNN})
    fit = trainer(tmp_path)
    fit.fit(task, environments(2))
    fit.save_checkpoint(tmp_path / "last.ckpt")
    main(["export", str(tmp_path / "last.ckpt"), str(tmp_path / "agent.zip")])
    loaded = stable_baselines3.A2C.load(tmp_path / "agent.zip").policy.state_dict()
    assert all(torch.equal(loaded[name], weight) for name, weight in task.policy.state_dict().items())
    assert_refused(capsys, [tmp_path / "last.ckpt", tmp_path / "agent.onnx"], "A2C is exported as sb3, and not as onnx")
    assert_refused(capsys, [tmp_path / "last.ckpt", tmp_path / "a.zip", "--size", "3", "3"], "leave out --size")


def assert_refused(capsys, arguments: list[object], message: str) -> None:
    """Show that the command ends with one line, and writes nothing."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["export", *map(str, arguments)])
    assert ended.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("The checkpoint ")]
    assert len(lines) == 1, lines
    assert re.match(f"error: .*{message}", lines[0]), lines[0]
    if len(arguments) > 1:
        assert not Path(arguments[1]).is_file()
        assert not list(Path(arguments[1]).parent.glob(".unfinished-*"))


def test_wrong_files_and_arguments_end_with_one_line(classifier, tmp_path, capsys):
    (tmp_path / "text.ckpt").write_text("x")
    (tmp_path / "file").write_text("x")
    for arguments, message in [
        ([tmp_path / "absent.ckpt", tmp_path / "a.onnx"], "no checkpoint at .*absent.ckpt"),
        ([tmp_path / "text.ckpt", tmp_path / "a.onnx"], "text.ckpt is damaged"),
        ([classifier, tmp_path / "model.xyz"], r"has none of the suffixes .onnx, .pt2, .zip"),
        ([classifier, tmp_path / "model.pt2", "--format", "onnx"], "has the suffix of the format torch, but --format"),
        ([classifier, tmp_path / "model.zip"], "is exported as onnx or torch, and not as sb3"),
        ([classifier, tmp_path / "a.onnx", "--size", "0", "4"], "height must be at least 1, got 0"),
        ([classifier, tmp_path / "file" / "a.onnx"], "a.onnx cannot be written"),
        ([classifier, tmp_path / "a.onnx", "--images", tmp_path / "none"], "there is no file or folder"),
        ([classifier], "the following arguments are required: out"),
    ]:
        assert_refused(capsys, arguments, message)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(classifier, tmp_path, capsys):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert_refused(capsys, [classifier, tmp_path / "locked" / "a.onnx"], "a.onnx cannot be written: .*Permission")


@pytest.mark.parametrize("name", ["a.pt2", "a.onnx"])
def test_a_full_disk_is_named(tmp_path, capsys, name):
    with full_disk(1000):
        assert_refused(capsys, ["regressor", tmp_path / name], f"{name} cannot be written: .*File too large")
    assert not list(tmp_path.iterdir())


class OwnTask(BaseTask):
    """A task that belongs to no domain of the package."""


def test_a_task_without_trained_model_in_python_is_named(tmp_path, capsys):
    path = save(OwnTask(), tmp_path / "a.ckpt")
    assert_refused(capsys, [path, tmp_path / "a.onnx"], "checkpoint of OwnTask, which this command")


def test_an_unknown_name_of_weights_is_refused_with_the_known_ones(tmp_path, capsys):
    assert_refused(capsys, ["pianter", tmp_path / "a.onnx"], "no checkpoint at pianter, .* painter, ")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["painter", "regressor"])
def test_shipped_weights_are_exported_by_name(name, tmp_path):
    main(["export", name, str(tmp_path / "a.onnx")])
    assert (tmp_path / "a.onnx").stat().st_size > 1000
    with pytest.raises(SystemExit):
        main(["export", name, str(tmp_path / "b.onnx"), "--size", "32", "32"])


class Random(nn.Module):
    """Computes something else each time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.rand(())


class FixedSize(nn.Module):
    """Keeps the size that it saw when it was exported."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.linspace(0, 1, int(x.shape[-1]))


@pytest.mark.parametrize(
    ("format", "suffix"), [pytest.param("onnx", ".onnx", marks=pytest.mark.slow), ("torch", ".pt2")]
)
@pytest.mark.parametrize(
    ("net", "message"), [(Random(), "'y' of the exported network differs from the network's for an input of 2 x 3: by")]
)
def test_a_file_that_computes_something_else_is_not_written(tmp_path, net, message, format, suffix):
    out = tmp_path / f"a{suffix}"
    out.write_text("an earlier file")
    examples = ((torch.rand(2, 3),),)
    with pytest.raises(ExportError, match=message):
        export(Exportable(net.eval(), examples, ("x",), ("y",)), out, format)
    assert out.read_text() == "an earlier file"
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_the_option_that_trusts_a_checkpoint_is_named(classifier, tmp_path, capsys):
    checkpoint = torch.load(classifier, weights_only=True)
    checkpoint["inference"]["task"] = "not_imported.Task"
    torch.save(checkpoint, tmp_path / "foreign.ckpt")
    with pytest.raises(SystemExit):
        main(["export", str(tmp_path / "foreign.ckpt"), str(tmp_path / "model.onnx")])
    message = capsys.readouterr().err
    assert "'not_imported.Task', whose module was not imported before" in message
    assert "--trust loads it all the same" in message


def test_a_size_that_the_exporter_would_fix_is_refused(tmp_path):
    example = ((torch.rand(2, 3),), (torch.rand(2, 5),))
    with pytest.raises(ExportError, match="the exporter cannot export this network"):
        export(Exportable(FixedSize().eval(), example, ("x",), ("y",), {1: "width"}), tmp_path / "a.onnx", "onnx")
    assert list(tmp_path.iterdir()) == []


def test_no_other_file_is_touched(tmp_path):
    """Files beside the export whose names a program could use for its own purposes stay as they are."""
    others = [tmp_path / name for name in ("a.part.pt2", "a.pt2.part", "a.tmp", "a.pt2.tmp")]
    for path in others:
        path.write_text("mine")
    main(["export", "painter", str(tmp_path / "a.pt2")])
    assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / "a.pt2"])
    assert {path.read_text() for path in others} == {"mine"}


class FromOne(gymnasium.Env):
    """Its actions are 1 and 2."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Discrete(2, start=1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.low, {}

    def step(self, action):
        return self.observation_space.low, 0.0, False, True, {}


@pytest.mark.filterwarnings("ignore::UserWarning:stable_baselines3")
def test_an_agent_whose_actions_start_elsewhere_says_so(tmp_path):
    """Stable-Baselines3's zip knows no start, so the actions of its file are from 0."""
    gymnasium.register("tests/FromOne-v0", FromOne)
    fit = trainer(tmp_path)
    fit.fit(A2C(20, policy="MlpPolicy"), EnvironmentDataModule("tests/FromOne-v0", n_envs=2))
    fit.save_checkpoint(tmp_path / "last.ckpt")
    with pytest.warns(UserWarning, match="returns integers from 0, but spaces of tests/FromOne-v0 start elsewhere"):
        main(["export", str(tmp_path / "last.ckpt"), str(tmp_path / "agent.zip")])
