"""Tests of the measured dependence of targets on position, on targets whose dependence is known."""

import math

import pytest
import torch

from lightning_coordconv.position import measure_dependence, measure_spread

COUNT = 400


@pytest.fixture
def positions() -> torch.Tensor:
    return torch.rand(COUNT, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1


def quadrant(positions: torch.Tensor) -> torch.Tensor:
    return 2 * (positions[:, 0] > 0).long() + (positions[:, 1] > 0).long()


def test_a_function_of_position_is_found(positions):
    found = measure_dependence("quadrant", positions, quadrant(positions), torch.arange(COUNT))
    assert found.share.low > 0.8
    assert found.enough
    assert found.coarse_share > 0.5 * found.share.value
    assert found.radius_share < 0.1


def test_chance_is_not_found(positions):
    targets = torch.randint(4, (COUNT,), generator=torch.Generator().manual_seed(2))
    found = measure_dependence("chance", positions, targets, torch.arange(COUNT))
    assert found.share.high < 0.02
    assert found.enough


@pytest.mark.parametrize(("classes", "images"), [(10**6, 0), (100, 224), (10, COUNT)])
def test_chance_is_not_found_among_many_classes(positions, classes, images):
    """A class that is only in the fold that is held out would be predicted by how wrong the others are."""
    generator = torch.Generator().manual_seed(2)
    targets = torch.randint(classes, (COUNT,), generator=generator)
    content = torch.randn(COUNT, 16, generator=generator)
    found = measure_dependence("chance", positions, targets, torch.arange(COUNT), content)
    assert (found.images, found.observations) == (images, images)
    assert found.what == ("chance" if images == COUNT else "chance, of classes in at least 5 images")
    assert found.share.low < 0.02
    assert found.given_content.low < 0.02
    assert found.enough == (images > 0)


def test_a_target_of_place_and_content_together_is_found_only_given_the_content(positions):
    digit = torch.randint(4, (COUNT,), generator=torch.Generator().manual_seed(3))
    targets = (digit + quadrant(positions)) % 4
    content = torch.nn.functional.one_hot(digit).float()
    found = measure_dependence("mixed", positions, targets, torch.arange(COUNT), content)
    assert found.share.high < 0.02
    assert found.given_content.low > 0.4


def test_what_the_content_tells_already_is_not_counted_for_position(positions):
    targets = quadrant(positions)
    content = torch.nn.functional.one_hot(targets).float() * 10
    found = measure_dependence("redundant", positions, targets, torch.arange(COUNT), content)
    assert found.share.low > 0.8
    assert found.given_content.value < 0.6 * found.share.value


@pytest.mark.parametrize("seed", range(4))
def test_of_a_class_that_the_content_tells_nothing_is_left_for_position(positions, seed):
    """What an estimate from neighbours leaves differs with the place where the content does, as at the border."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(2, (COUNT,), generator=generator)
    cut = 1 - (positions.abs().amax(dim=1) - 0.8).clamp(min=0)
    content = (2.0 * targets - 1)[:, None] * cut[:, None] + 0.01 * torch.randn(COUNT, 8, generator=generator)
    found = measure_dependence("told", positions, targets, torch.arange(COUNT), content)
    assert found.given_content.high <= 0.02


def test_a_function_of_the_radius_is_found_by_the_radius(positions):
    targets = (positions.norm(dim=1) > 0.7).long()
    found = measure_dependence("ring", positions, targets, torch.arange(COUNT))
    assert found.radius_share >= 0.95 * found.share.value > 0.5


@pytest.mark.slow
def test_a_fine_structure_is_not_smooth():
    rows = torch.linspace(-1, 1, 2000)
    targets = ((rows + 1) / 2 * 12).long() % 2
    found = measure_dependence("stripes", rows[:, None], targets, torch.arange(2000))
    assert found.share.low > 0.5
    assert found.coarse_share < 0.5 * found.share.value


def test_a_number_is_explained_by_its_variance(positions):
    noise = torch.randn(COUNT, generator=torch.Generator().manual_seed(4))
    signal = positions[:, 0] / positions[:, 0].std()
    found = measure_dependence("number", positions, signal + noise, torch.arange(COUNT))
    assert found.share.low < 0.5 < found.share.high + 0.1  # half of the variance is noise
    assert measure_dependence("noise", positions, noise, torch.arange(COUNT)).share.high < 0.02


def test_observations_of_one_image_do_not_predict_each_other():
    """Every image has another label, drawn at random, and all its observations lie close together."""
    generator = torch.Generator().manual_seed(5)
    groups = torch.arange(40).repeat_interleave(20)
    places = torch.rand(40, 2, generator=generator)[groups] + 0.01 * torch.rand(800, 2, generator=generator)
    targets = torch.randint(2, (40,), generator=generator)[groups]
    assert measure_dependence("images", places, targets, groups).share.value < 0.1


def test_few_images_say_nothing(positions):
    found = measure_dependence("few", positions[:8], quadrant(positions)[:8], torch.arange(8))
    assert not found.enough


def test_the_order_of_observations_does_not_matter(positions):
    targets, order = quadrant(positions), torch.randperm(COUNT, generator=torch.Generator().manual_seed(6))
    found = measure_dependence("a", positions, targets, torch.arange(COUNT))
    moved = measure_dependence("a", positions[order], targets[order], torch.arange(COUNT)[order])
    assert moved.share.value == pytest.approx(found.share.value, abs=1e-4)


def test_a_constant_target_depends_on_nothing(positions):
    found = measure_dependence("a", positions, torch.zeros(COUNT, dtype=torch.long), torch.arange(COUNT)).to_dict()
    assert found["share"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert found["bandwidth"] is None or math.isfinite(found["bandwidth"])


def test_shapes_that_do_not_agree_are_refused(positions):
    with pytest.raises(ValueError, match=r"expected positions \(N, n\)"):
        measure_dependence("a", positions, torch.zeros(3), torch.arange(3))


@pytest.mark.slow
def test_the_unit_of_a_number_does_not_matter(positions):
    """A height in metres and the same in micrometres; neither is taken for a constant."""
    brightness = torch.rand(COUNT, 1, generator=torch.Generator().manual_seed(8)) * 0.02
    targets = brightness[:, 0] * (1 + 0.3 * positions[:, 0])
    shares = [
        measure_dependence("height", positions, targets * unit, torch.arange(COUNT), brightness).given_content
        for unit in (1.0, 1e-6, 1e6)
    ]
    assert shares[0].low > 0.3
    assert [share.value for share in shares] == pytest.approx([shares[0].value] * 3, abs=1e-3)


def test_repeated_contents_are_not_counted_for_position(positions):
    """Every content occurs twice, at two places: a second estimate by content predicts better, without positions."""
    generator = torch.Generator().manual_seed(9)
    content = torch.randn(COUNT // 2, 16, generator=generator).repeat(2, 1)
    targets = torch.randint(10, (COUNT // 2,), generator=generator).repeat(2)
    found = measure_dependence("repeated", positions, targets, torch.arange(COUNT), content)
    assert abs(found.given_content.value) < 0.02


@pytest.mark.slow
def test_a_linear_content_leaves_only_what_position_adds(positions):
    generator = torch.Generator().manual_seed(10)
    content = torch.randn(COUNT, 3, generator=generator)
    targets = content @ torch.tensor([3.0, -2.0, 1.0]) + 0.3 * torch.randn(COUNT, generator=generator)
    nothing = measure_dependence("linear", positions, targets, torch.arange(COUNT), content)
    assert nothing.added.high < 0.02
    shifted = measure_dependence("shifted", positions, targets + positions[:, 1], torch.arange(COUNT), content)
    assert shifted.added.low > 0.3
    assert shifted.share.value < 0.1


def test_keypoints_of_one_image_have_no_place_to_be_compared_with():
    """Twenty images have keypoint 0, and each has another one, all at one place."""
    places, images = torch.full((40, 2), 0.8), torch.arange(20).repeat(2)
    kinds = torch.cat([torch.zeros(20, dtype=torch.long), torch.arange(1, 21)])
    found = measure_spread("place", places, kinds, images)
    assert found.share.value == pytest.approx(0, abs=1e-6)
    assert (found.images, found.observations, found.what) == (20, 20, "place, of keypoints in at least 5 images")
    assert measure_spread("place", places[20:], kinds[20:], images[20:]).enough is False
