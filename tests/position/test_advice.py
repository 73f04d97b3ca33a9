"""Tests of the advice for models and data with known answers, of its measurements, and of its command."""

import json
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import pytest
import timm
import torch
from pytorch_lightning import LightningDataModule
from torch import nn
from torch.utils.data import Dataset
from torchvision.models import resnet18
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn, retinanet_resnet50_fpn
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

from lightning_coordconv import CoordConv2d, coordconv_layers, to_coordconv
from lightning_coordconv.classification import PlacedDigitsDataModule, PooledClassifier
from lightning_coordconv.core import BaseDataModule
from lightning_coordconv.position import advise, check_frames, command, draw_advice, place, read_positions
from lightning_coordconv.position.command import load_model
from lightning_coordconv.position.features import run, stages
from lightning_coordconv.runtime.cli import main
from lightning_coordconv.segmentation import SemanticSegmentation
from tests.slow import slow_except


class Samples(Dataset):
    def __init__(self, samples: list[Mapping[str, Any]]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        return self.samples[index]


class GivenDataModule(BaseDataModule):
    """Serves samples that a test made."""

    def __init__(self, samples: list[Mapping[str, Any]]) -> None:
        super().__init__()
        self.samples = samples

    def make_dataset(self, split: str) -> Samples:
        return Samples(self.samples)


class Wrapper(nn.Module):
    """Has a network named as a task's is, and a layer before it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.before = nn.Conv2d(1, 1, 1)
        self.net = net

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.net(self.before(image))


def images(count: int, channels: int = 1, size: int = 32) -> list[torch.Tensor]:
    return list(torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(
    ("labels", "convert"), [("position", True), ("content", False), pytest.param("mixed", True, marks=pytest.mark.slow)]
)
def test_digits_whose_class_is_known_to_depend_on_place_or_not(labels, convert):
    classes = 4 if labels == "position" else 10
    advice = advise(PooledClassifier(classes), PlacedDigitsDataModule(labels), num_images=400)
    assert advice.convert is convert
    assert bool(advice.where) is convert
    assert str(advice).splitlines()[-1].startswith("Therefore: convert" if convert else "Therefore: do not convert")


@pytest.mark.parametrize("key", ["image", "label"])
def test_what_is_unknown_stays_unknown(key):
    """Few images, or classes without a known place."""
    samples = [{"image": image, "label": torch.tensor(n % 2)} for n, image in enumerate(images(30))]
    if key == "image":
        samples = [sample | {"top": torch.tensor(n), "left": torch.tensor(n)} for n, sample in enumerate(samples)][:6]
    advice = advise(PooledClassifier(2), GivenDataModule(samples))
    assert advice.convert is None
    assert advice.where == []
    assert "undecided" in advice.sentences[-1]


def test_a_mask_with_two_sides_depends_on_position():
    mask = torch.zeros(32, 32, dtype=torch.long)
    mask[:, 16:] = 1
    samples = [{"image": image, "mask": mask} for image in images(40)]
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    advice = advise(network, GivenDataModule(samples))
    assert advice.convert is True
    assert advice.dependence[0].share.low > 0.8
    to_coordconv(network, where=advice.where)
    assert list(coordconv_layers(network)) == advice.where


@pytest.mark.slow
def test_a_model_with_coordinates_needs_no_more():
    mask = torch.zeros(32, 32, dtype=torch.long)
    mask[:, 16:] = 1
    samples = [{"image": image, "mask": mask} for image in images(40)]
    network = nn.Sequential(CoordConv2d(1, 8, 1), nn.Conv2d(8, 8, 1))
    advice = advise(network, GivenDataModule(samples))
    assert advice.convert is False
    assert "tells it already" in advice.sentences[-1]


@pytest.mark.slow
@pytest.mark.parametrize("wrap", [lambda net: net, lambda net: SemanticSegmentation(net, 2), Wrapper])
def test_the_places_are_names_in_the_model_that_was_given(wrap):
    mask = torch.zeros(32, 32, dtype=torch.long)
    mask[:, 16:] = 1
    model = wrap(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1)))
    advice = advise(model, GivenDataModule([{"image": image, "mask": mask} for image in images(40)]))
    to_coordconv(model, where=advice.where)
    assert sorted(coordconv_layers(model)) == sorted(advice.where)
    assert advice.where


@pytest.mark.parametrize("ignore_index", slow_except([255], [-1, 0, 255]))
def test_pixels_without_a_class_do_not_count(ignore_index):
    mask = torch.full((32, 32), ignore_index)
    mask[8:, 8:] = 1
    data = GivenDataModule([{"image": image, "mask": mask} for image in images(30)])
    data.ignore_index = ignore_index
    advice = advise(nn.Conv2d(1, 2, 3), data)
    assert advice.convert is None
    assert advice.observations[0].targets.unique().tolist() == [1]


def test_masks_of_mostly_ignored_pixels_are_enough():
    """Of each mask 1 % of the pixels have a class, which is the side that they are on."""
    generator = torch.Generator().manual_seed(0)
    samples = []
    for image in images(40):
        mask = torch.full((1024,), 255)
        chosen = torch.randperm(1024, generator=generator)[:10]
        mask[chosen] = (chosen % 32 >= 16).long()
        samples.append({"image": image, "mask": mask.view(32, 32)})
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    advice = advise(network, GivenDataModule(samples))
    assert advice.convert is True
    (found,) = advice.dependence
    assert found.images == 40
    assert found.observations == pytest.approx(400, abs=2)


FROZEN = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize("label", [0, -1], ids=["advice", "refusal"])
def test_modules_that_differ_in_their_modes_keep_them(label):
    """A frozen batch norm stays in evaluation mode while the rest trains, also where samples are refused."""
    FROZEN.train()[1].eval()
    before = {name: value.clone() for name, value in FROZEN.state_dict().items()}
    samples = [{"image": image, "label": label} for image in images(8)]
    with nullcontext() if label == 0 else pytest.raises(ValueError, match="got -1"):
        advise(FROZEN, GivenDataModule(samples))
    assert [module.training for module in FROZEN] == [True, False, True, True, True]
    assert all(torch.equal(value, before[name]) for name, value in FROZEN.state_dict().items())


@pytest.mark.parametrize("target", ["mask", "boxes"])
def test_images_without_any_target_decide_nothing(target):
    """Masks of nothing but pixels to ignore, and images without an object."""
    targets = {"mask": torch.full((32, 32), 255)}
    if target == "boxes":
        targets = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    advice = advise(nn.Conv2d(1, 2, 3), GivenDataModule([{"image": image} | targets for image in images(30)]))
    assert advice.convert is None
    assert "undecided, for the images that were read hold no target that is known here" in advice.sentences[-1]
    draw_advice(advice)


def keypoints(count: int, spread: float, canvas: int = 32) -> list[dict[str, torch.Tensor]]:
    """Images with three keypoints, each uniform in a square around its mean; ``spread`` is the side of the square."""
    generator = torch.Generator().manual_seed(3)
    means = torch.tensor([[8.0, 8.0], [16.0, 16.0], [20.0, 12.0]]) * canvas / 32
    return [
        {"image": image, "keypoints": means + spread * canvas * (torch.rand(3, 2, generator=generator) - 0.5)}
        for image in images(count, size=canvas)
    ]


@pytest.mark.parametrize(
    ("count", "spread", "convert"),
    [(30, 0.4, True), (120, 0.4, True), (120, 0.0, False), (120, 0.01, False), (30, 0.01, None), (8, 0.4, None)],
)
def test_keypoints_need_position_as_far_as_they_move(count, spread, convert):
    """The distance of a uniform place in a square from its middle has the root mean square 0.408 of the side."""
    advice = advise(PooledClassifier(2), GivenDataModule(keypoints(count, spread)), num_readout_images=4)
    assert advice.convert is convert
    assert advice.encoding is None
    (found,) = advice.dependence
    assert found.is_place
    assert (found.images, found.observations) == (count, 3 * count)
    assert found.share.value == pytest.approx(0.408 * spread, rel=0.1 if count > 8 else 0.3, abs=1e-6)
    assert found.share.low <= found.share.value <= found.share.high
    if count < 20:
        assert "too few to conclude from" in str(advice)
        assert f"{count} images are too few to say anything: at least 20 are needed" in advice.sentences[-1]
    draw_advice(advice)


def test_a_readout_that_tells_position_needs_no_coordinates():
    """A linear layer over all cells, where a pool over the image does need them."""
    samples = keypoints(30, 0.4)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 2))
    advice = advise(network, GivenDataModule(samples))
    assert advice.convert is False
    assert advice.translation > 0.5
    assert "tells it already" in advice.sentences[-1]


def test_the_model_is_left_as_it_was():
    network = PooledClassifier(10)
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    advise(network, PlacedDigitsDataModule("content"), num_images=40, num_readout_images=8)
    assert [module.training for module in network.modules()] == modes
    for module in network.modules():
        assert not module._forward_hooks
        assert getattr(module, "padding_mode", "zeros") == "zeros"
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


class TestReadout:
    def test_coordinates_are_read(self):
        network = nn.Sequential(CoordConv2d(1, 8, 1), nn.Identity())
        (stage,) = read_positions(network, images(8), ["0"])
        assert min(stage.images_low, stage.without_padding, stage.blank, stage.blank_without_padding) > 0.99

    def test_zero_padding_is_found_and_taken_away(self):
        network = nn.Sequential(*[layer for _ in range(6) for layer in (nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())])
        network[0] = nn.Conv2d(1, 8, 3, padding=1)
        (stage,) = read_positions(network, images(8, size=12), ["11"])
        assert stage.blank > 0.15
        assert stage.blank_without_padding == 0
        assert 1 <= stage.reach <= 6
        assert stage.without_padding < 0.1

    def test_a_layer_without_padding_knows_nothing(self):
        network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU())
        (stage,) = read_positions(network, images(8), ["1"])
        assert stage.images < 0.1
        assert stage.blank == 0
        assert stage.reach == 0


@pytest.mark.parametrize(
    ("network", "classes"),
    [
        (resnet18, ["conv1", "layer4.1.conv2"]),
        (lambda: lraspp_mobilenet_v3_large(weights=None, weights_backbone=None), None),
        (lambda: timm.create_model("convnext_atto"), None),
        pytest.param(
            lambda: fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None),
            None,
            marks=pytest.mark.slow,
        ),
    ],
    ids=["resnet18", "lraspp", "convnext", "faster_rcnn"],
)
def test_places_can_be_converted(network, classes):
    model = network().eval()
    inputs = images(1, 3, 96)
    placement = place(model, lambda: run(model, inputs))
    assert placement.names
    if classes is not None:
        assert placement.names == classes
    before = stages(model, inputs)
    to_coordconv(model, where=placement.names)
    assert list(coordconv_layers(model)) == sorted(placement.names, key=list(dict(model.named_modules())).index)
    assert stages(model, inputs) == before


@pytest.mark.slow
def test_the_first_convolution_of_each_head_is_converted():
    model = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None).eval()
    heads = [name for name in place(model, lambda: run(model, images(1, 3, 96))).names if "head" in name]
    assert heads == ["rpn.head.conv.0.0"]
    model = retinanet_resnet50_fpn(weights=None, weights_backbone=None).eval()
    heads = [name for name in place(model, lambda: run(model, images(1, 3, 96))).names if "head" in name]
    assert heads == ["head.classification_head.conv.0.0", "head.regression_head.conv.0.0"]


class TestFrames:
    @pytest.mark.slow
    def test_crops_that_say_where_they_lie_need_their_frame(self):
        samples = [{"image": image, "origin": (0, 8), "size": (64, 64)} for image in images(4)]
        assert check_frames(nn.Conv2d(1, 2, 3), Samples(samples), images(4)).placed
        mask = torch.arange(32).expand(32, 32) // 16
        data = GivenDataModule([sample | {"mask": mask} for sample in samples * 10])
        network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))
        assert "coordinate_frame(origin, size" in str(advise(network, data))

    def test_random_samples_and_sizes_are_found(self):
        class Random(Samples):
            def __getitem__(self, index: int) -> Mapping[str, Any]:
                return {"image": torch.rand(1, 32, 32)}

        network = nn.Conv2d(1, 2, 3)
        sizes = [torch.rand(1, 32, 32), torch.rand(1, 32, 48)]
        found = check_frames(network, Random([{}] * 4), sizes)
        assert found.random
        assert found.sizes == 2
        assert not check_frames(network, Samples([{"image": image} for image in images(4)]), sizes[:1]).random

    @pytest.mark.slow
    def test_a_convolution_does_not_change_with_the_batch(self):
        model = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None).eval()
        given = images(4, 3, 64)
        found = check_frames(model, Samples([{"image": image} for image in given]), given[:2])
        assert found.batch is not None
        assert found.resized is None


def test_models_by_name_are_built_without_a_download(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a download")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    for name in ("fasterrcnn_mobilenet_v3_large_320_fpn", "lraspp_mobilenet_v3_large", "resnet18"):
        assert isinstance(load_model(name), nn.Module)


def test_weights_of_a_task_are_those_of_its_network(tmp_path):
    network = PooledClassifier(3)
    state = {f"net.{name}": value for name, value in network.state_dict().items()} | {"metric": torch.zeros(1)}
    torch.save({"state_dict": state}, tmp_path / "task.ckpt")
    loaded = load_model(PooledClassifier(3), tmp_path / "task.ckpt")
    assert all(map(torch.equal, loaded.state_dict().values(), network.state_dict().values()))


def test_a_config_is_given_by_its_name(tmp_path, capsys, cli):
    cli("advise", "-c", "classification/digits_conv", "--images", "40", "--readout_images", "4")
    assert "Class given the place of the object" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli("advise", "-c", "classification/nothing")
    assert "error: there is no config 'classification/nothing'" in capsys.readouterr().err


@pytest.mark.slow
def test_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = "lightning_coordconv.classification.PooledClassifier"
    data = "lightning_coordconv.classification.PlacedDigitsDataModule"
    main(
        [
            "advise",
            "--model",
            network,
            "--model.num_classes",
            "4",
            "--data",
            data,
            "--data.labels",
            "position",
            "--images",
            "60",
        ]
    )
    out = capsys.readouterr().out
    assert "position removes" in out
    assert "Therefore:" in out
    written = json.loads((tmp_path / "advice" / "advice.json").read_text())
    assert written["sentences"] == out.splitlines()[:-1]
    assert (tmp_path / "advice" / "advice.png").stat().st_size > 10_000


def test_a_config_of_fit_is_accepted_with_all_its_keys(tmp_path, monkeypatch):
    """Its seed is that of the data, as in fit."""
    config = tmp_path / "config.yaml"
    config.write_text(
        "seed_everything: 3\nfigures: true\nckpt_path: null\nweights_only: null\ntrainer: {max_epochs: 1}\n"
        "model: {class_path: lightning_coordconv.classification.PooledClassifier, init_args: {num_classes: 4}}\n"
        "data: {class_path: lightning_coordconv.classification.PlacedDigitsDataModule, init_args: {labels: position}}\n"
    )
    given = []
    monkeypatch.setattr(command, "advise", lambda model, data, *_: given.append(data) or 1 / 0)
    for seed in ([], ["--seed_everything=5"]):
        with pytest.raises(ZeroDivisionError):
            main(["advise", "-c", str(config), *seed])
    assert [data.seed for data in given] == [3, 5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--model", "resnet18", "--ckpt_path", "x.ckpt"],
            "advise reads weights from --checkpoint, not",
        ),
        (["--model", "resnet18", "--bogus", "1"], "--bogus"),
        (["--model", "resnet1"], "torchvision has no model 'resnet1'"),
        pytest.param(["--model", "timm/resnet1"], "timm has no model 'resnet1'", marks=pytest.mark.slow),
        pytest.param(
            ["--model", "resnet18", "--checkpoint", "nowhere.pt"], "no checkpoint at nowhere.pt", marks=pytest.mark.slow
        ),
        pytest.param(
            ["--model", "resnet18", "--checkpoint", "other.pt"],
            "other.pt holds weights of another architecture",
            marks=pytest.mark.slow,
        ),
        (["--model", "resnet18", "--images", "2"], "num_images must be at least 4, got 2"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pt")
    data = ["--data", "lightning_coordconv.classification.PlacedDigitsDataModule"]
    with pytest.raises(SystemExit) as info:
        main(["advise", *arguments, *data])
    assert info.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "advice").exists()


def test_data_of_another_class_are_named():
    with pytest.raises(TypeError, match=r"data must be a BaseDataModule .*, got a LightningDataModule"):
        advise(PooledClassifier(4), LightningDataModule())


def test_the_picture_has_a_map_for_each_target():
    advice = advise(PooledClassifier(4), PlacedDigitsDataModule("position"), num_images=60, num_readout_images=8)
    titles = [axes.get_title() for axes in draw_advice(advice).axes]
    assert any("class given the place of the object" in title for title in titles)
    assert any("linear readout" in title for title in titles)
