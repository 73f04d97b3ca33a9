"""Tests of the command ``export``: in every domain, a file computes what the network computes."""

import json
from pathlib import Path

import gymnasium
import onnx
import pytest
import stable_baselines3
import torch

from lightning_coordconv import coordinate_frame
from lightning_coordconv.classification import ImageClassification, PooledClassifier
from lightning_coordconv.coordinates import CoordConvDecoder, CoordinateClassification, CoordinatePredictor
from lightning_coordconv.core.export import ExportError
from lightning_coordconv.core.preprocessing import Preprocessing
from lightning_coordconv.detection import (
    DetectionPredictor,
    Detector,
    ObjectDetection,
    RegionProposal,
    RegionProposalNet,
)
from lightning_coordconv.detection import load as load_detector
from lightning_coordconv.generative import (
    GAN,
    VAE,
    ConvDiscriminator,
    ConvEncoder,
    CoordConvGenerator,
    GenerativePredictor,
    SpatialBroadcastDecoder,
)
from lightning_coordconv.rl import A2C, EnvironmentDataModule, SmallCNN
from lightning_coordconv.runtime.cli import main
from lightning_coordconv.segmentation import SegmentationNetwork, SemanticSegmentation
from tests.detection.test_image_frames import shaken as at_random
from tests.detection.test_torchvision_detectors import MOBILE, SMALL
from tests.rl.agents import data as environments
from tests.rl.agents import trainer
from tests.runtime.exports import NAMES, PREPARED, assert_refused, run, save, shaken


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
    described = metadata_of(out)
    assert described["class_names"] == NAMES
    assert described["preprocessing"]["mean"] == PREPARED["mean"]
    assert "Range" not in {node.op_type for node in model.graph.node}


def metadata_of(path):
    """Return the metadata of an ONNX file."""
    return json.loads({entry.key: entry.value for entry in onnx.load(path).metadata_props}["lightning_coordconv"])


@pytest.mark.slow
def test_the_crop_of_the_preprocessing_fixes_the_size(tmp_path):
    net = shaken(PooledClassifier(4, coordinates=True, channels=3))
    path = save(ImageClassification(net), tmp_path / "a.ckpt", preprocessing=PREPARED | {"resize": 48, "crop": 40})
    main(["export", str(path), str(tmp_path / "model.onnx")])
    assert run(tmp_path / "model.onnx", torch.rand(2, 3, 40, 40))[0].shape == (2, 4)
    with pytest.raises(Exception, match="Got invalid dimensions"):
        run(tmp_path / "model.onnx", torch.rand(2, 3, 48, 48))
    described = metadata_of(tmp_path / "model.onnx")
    assert (described["size"], described["preprocessing"]["resize"], described["preprocessing"]["crop"]) == (
        [40, 40],
        48,
        40,
    )


@pytest.mark.slow
@pytest.mark.parametrize("steps", [{"resize": 48, "crop": 40}, {"stretch": 40}])
def test_the_metadata_of_a_file_for_another_size_do_not_name_the_size_of_the_training(steps, tmp_path):
    net = shaken(PooledClassifier(4, coordinates=True, channels=3))
    path = save(ImageClassification(net), tmp_path / "a.ckpt", preprocessing=PREPARED | steps)
    main(["export", str(path), str(tmp_path / "model.onnx"), "--size", "24", "32"])
    described = metadata_of(tmp_path / "model.onnx")
    assert described["size"] == [24, 32]
    prepared = Preprocessing.from_dict(described["preprocessing"])
    assert prepared.pixels(torch.rand(3, 24, 32)).shape == (3, 24, 32)
    assert described["preprocessing"]["mean"] == PREPARED["mean"]


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


def gan() -> GAN:
    return GAN(CoordConvGenerator(6, 16, 2), ConvDiscriminator(16, 2), latent_size=6, binary_latents=2)


def vae() -> VAE:
    return VAE(ConvEncoder(6, 16, 2), SpatialBroadcastDecoder(6, 16, 4), latent_size=6)


@pytest.mark.slow
@pytest.mark.parametrize(("task", "latent", "binary"), [(gan, "uniform", 2), (vae, "normal", 0)])
def test_the_metadata_of_a_generator_say_what_it_takes_and_returns(task, latent, binary, tmp_path):
    model = GenerativePredictor(task(), device="cpu")
    expected = {"latent_size": 6, "latent": latent, "binary_latents": binary, "image_range": [-1, 1]}
    model.export(tmp_path / "generator.onnx")
    assert metadata_of(tmp_path / "generator.onnx") == expected
    model.export(tmp_path / "generator.pt2")
    files = {"lightning_coordconv": ""}
    torch.export.load(tmp_path / "generator.pt2", extra_files=files)
    assert json.loads(files["lightning_coordconv"]) == expected


@pytest.mark.slow
def test_the_metadata_of_a_coordinate_network_say_the_unit_of_the_positions_it_takes(tmp_path):
    model = CoordinatePredictor(CoordinateClassification(CoordConvDecoder(canvas=64)), device="cpu")
    model.export(tmp_path / "painter.onnx")
    assert metadata_of(tmp_path / "painter.onnx") == {"canvas": 64, "coordinates": "scaled"}


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["painter", "regressor"])
def test_shipped_weights_are_exported_by_name(name, tmp_path):
    main(["export", name, str(tmp_path / "a.onnx")])
    assert (tmp_path / "a.onnx").stat().st_size > 1000
    with pytest.raises(SystemExit):
        main(["export", name, str(tmp_path / "b.onnx"), "--size", "32", "32"])


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
