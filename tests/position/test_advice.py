"""Tests of the advice for models and data with known answers, of its figure, and that the model stays as it was."""

from contextlib import nullcontext

import pytest
import torch
from pytorch_lightning import LightningDataModule
from torch import nn

from lightning_coordconv import CoordConv2d, coordconv_layers, to_coordconv
from lightning_coordconv.classification import PlacedDigitsDataModule, PooledClassifier
from lightning_coordconv.position import advise, draw_advice
from lightning_coordconv.segmentation import SemanticSegmentation
from tests.position.samples import GivenDataModule, Samples, images
from tests.slow import slow_except


class Wrapper(nn.Module):
    """Has a network named as a task's is, and a layer before it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.before = nn.Conv2d(1, 1, 1)
        self.net = net

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.net(self.before(image))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("labels", "convert"), [("position", True), ("content", False), pytest.param("mixed", True, marks=pytest.mark.slow)]
)
def test_digits_whose_class_is_known_to_depend_on_place_or_not(labels, convert):
    classes = 4 if labels == "position" else 10
    advice = advise(PooledClassifier(classes), PlacedDigitsDataModule(labels), num_images=400)
    assert advice.convert is convert
    assert bool(advice.where) is convert
    assert str(advice).splitlines()[-1].startswith("Therefore: convert" if convert else "Therefore: do not convert")


POINT = {"top": torch.tensor(3), "left": torch.tensor(4)}


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
    assert "Read more" not in advice.sentences[-1]  # all were read


def test_more_images_are_asked_for_where_there_are_more():
    samples = [{"image": image, "label": torch.tensor(n % 2)} | POINT for n, image in enumerate(images(12))]
    for number, more in ((6, True), (12, False), (500, False)):
        sentence = advise(PooledClassifier(2), GivenDataModule(samples), num_images=number).sentences[-1]
        assert "are too few to say anything" in sentence
        assert ("Read more images, or train with" in sentence) is more
        assert ("Train with" in sentence) is not more


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("ignore_index", slow_except([255], [-1, 0, 255]))
def test_pixels_without_a_class_do_not_count(ignore_index):
    mask = torch.full((32, 32), ignore_index)
    mask[8:, 8:] = 1
    data = GivenDataModule([{"image": image, "mask": mask} for image in images(30)])
    data.ignore_index = ignore_index
    advice = advise(nn.Conv2d(1, 2, 3), data)
    assert advice.convert is None
    assert advice.observations[0].targets.unique().tolist() == [1]


@pytest.mark.slow
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
    assert "undecided, for nothing in the samples (" in advice.sentences[-1]
    draw_advice(advice)


def keypoints(count: int, spread: float, canvas: int = 32) -> list[dict[str, torch.Tensor]]:
    """Images with three keypoints, each uniform in a square around its mean; ``spread`` is the side of the square."""
    generator = torch.Generator().manual_seed(3)
    means = torch.tensor([[8.0, 8.0], [16.0, 16.0], [20.0, 12.0]]) * canvas / 32
    return [
        {"image": image, "keypoints": means + spread * canvas * (torch.rand(3, 2, generator=generator) - 0.5)}
        for image in images(count, size=canvas)
    ]


@pytest.mark.slow
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


@pytest.mark.parametrize("flips", [False, True])
def test_flips_that_hide_a_dependence_are_named_where_the_advice_is_no(flips):
    """The label of each sample is drawn anew, as a flip draws the side on which an object lies."""

    class Flipped(GivenDataModule):
        def make_dataset(self, split):
            return Changing(self.samples) if flips else super().make_dataset(split)

    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (200,), generator=generator)
    samples = [{"image": image, "label": label} for image, label in zip(images(200), labels, strict=True)]
    advice = advise(nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), Flipped(samples))
    assert advice.convert is False
    assert ("Random flips hide a dependence on position" in str(advice)) is flips


class Changing(Samples):
    def __getitem__(self, index):
        sample = self.samples[index]
        return {**sample, "image": sample["image"] + 1e-3 * torch.rand(())}


def test_data_of_another_class_are_named():
    with pytest.raises(TypeError, match=r"data must be a BaseDataModule .*, got a LightningDataModule"):
        advise(PooledClassifier(4), LightningDataModule())


@pytest.mark.slow
def test_the_picture_has_a_map_for_each_target():
    advice = advise(PooledClassifier(4), PlacedDigitsDataModule("position"), num_images=60, num_readout_images=8)
    titles = [axes.get_title() for axes in draw_advice(advice).axes]
    assert any("class given the place of the object" in title for title in titles)
    assert any("linear readout" in title for title in titles)


class Seen(nn.Module):
    """Returns and notes the mean of each image."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, 1)
        self.seen: list[float] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.seen += image.mean((1, 2, 3)).tolist()
        return self.first(image).mean((2, 3))


def test_the_model_is_run_on_images_of_all_classes_where_they_come_one_after_the_other():
    samples = [{"image": torch.full((1, 64, 64), float(n // 10)), "label": n // 10} for n in range(40)]
    model = Seen()
    advise(model, GivenDataModule(samples), num_readout_images=8)
    assert {0.0, 1.0, 2.0, 3.0} <= set(model.seen)


def test_a_compiled_model_gets_the_same_advice():
    samples = [{"image": image, "label": n % 2} for n, image in enumerate(images(24))]
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    expected = advise(model, GivenDataModule(samples), num_readout_images=4)
    model.compile(backend="eager")
    assert advise(model, GivenDataModule(samples), num_readout_images=4).to_dict() == expected.to_dict()


def test_a_model_whose_weights_are_nan_gets_no_advice():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    nn.init.constant_(model[0].weight, torch.nan)
    samples = [{"image": image, "label": n % 2} for n, image in enumerate(images(24))]
    with pytest.raises(ValueError, match="Sequential returned NaN or infinity"):
        advise(model, GivenDataModule(samples))
