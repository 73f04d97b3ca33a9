"""Tests of two-object Sort-of-CLEVR: pixels against a slow reference, random positions, seeds, wrong arguments."""

import math

import pytest
import torch

from lightning_coordconv.generative import SortOfClevr

WHITE, BLUE, RED = (1, 1, 1), (-1, -1, 1), (1, -1, -1)


def paint(sample, canvas, radius):
    """The definition, pixel by pixel."""
    image = torch.empty(canvas, canvas, 3)
    for y in range(canvas):
        for x in range(canvas):
            colour = WHITE
            for k, paint in enumerate((BLUE, RED)):  # red comes later: it hides blue
                dx, dy = x - sample["centre"][k, 0].item(), y - sample["centre"][k, 1].item()
                inside = dx**2 + dy**2 <= radius**2 if sample["circle"][k] else max(abs(dx), abs(dy)) <= radius
                colour = paint if inside else colour
            image[y, x] = torch.tensor(colour)
    return image.permute(2, 0, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("canvas", "radius"), [(32, 5), (16, 3)])
def test_pixels(canvas, radius):
    dataset = SortOfClevr("train", 12, canvas, radius, seed=3)
    for sample in dataset:
        assert torch.equal(sample["image"], paint(sample, canvas, radius))
        assert sample["image"].dtype == torch.float32
    assert dataset.circles.any()
    assert not dataset.circles.all()


@pytest.mark.parametrize("radius", [1, 2, 3, 10])
def test_the_least_canvas_has_room(radius):
    least = 2 * radius + 2 * math.ceil(2**0.5 * radius)
    assert len(SortOfClevr("train", 500, least, radius)) == 500


def test_hidden_corners_are_painted_red():
    dataset = SortOfClevr("train", 4000, 32, 5)
    overlapping = ((dataset.centres[:, 0] - dataset.centres[:, 1]).abs().amax(1) <= 10).nonzero()[:20, 0]
    squares = [i for i in overlapping.tolist() if not dataset.circles[i].any()]
    assert squares
    for i in squares:
        assert torch.equal(dataset[i]["image"], paint(dataset[i], 32, 5))


def test_centres_are_where_objects_fit_and_apart():
    dataset = SortOfClevr("train", 5000, 64, 10)
    assert (dataset.centres.amin((0, 1)).tolist(), dataset.centres.amax((0, 1)).tolist()) == ([10, 10], [53, 53])
    distance = (dataset.centres[:, 0] - dataset.centres[:, 1]).double().norm(dim=1)
    assert distance.min() >= 20
    assert distance.mean().item() == pytest.approx(29.9, abs=0.3)  # the specification's figure
    assert dataset.circles.float().mean().item() == pytest.approx(0.5, abs=0.02)
    blue = torch.bincount(dataset.centres[:, 0, 0] - 10, minlength=44)  # uniform: 114 in each column
    assert blue.min() > 70
    assert blue.max() < 160


def test_images_depend_on_the_arguments_alone():
    first, again = (SortOfClevr("train", 300, 16, 3, seed=1) for _ in range(2))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.images[:10], first.__getitems__(list(range(10)))["image"].add(1).mul(127.5).byte())
    for other in (SortOfClevr("val", 300, 16, 3, seed=1), SortOfClevr("train", 300, 16, 3, seed=2)):
        assert not torch.equal(first.centres, other.centres)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    SortOfClevr("test", 10, 16, 3)
    assert torch.equal(before, torch.get_rng_state())


def test_a_batch_is_channels_last_and_samples_are_its_rows():
    dataset = SortOfClevr("train", 300, 16, 3)
    batch = dataset.__getitems__([7, 2])
    assert batch["image"].shape == (2, 3, 16, 16)
    assert batch["image"].is_contiguous(memory_format=torch.channels_last)
    for key, value in dataset[2].items():
        assert torch.equal(value, batch[key][1]), key
    assert dataset.images.dtype == torch.uint8


def test_shapes():
    assert not SortOfClevr("train", 50, 16, 3, shapes=["square"]).circles.any()
    assert SortOfClevr("train", 50, 16, 3, shapes=["circle"]).circles.all()


def test_plot():
    dataset = SortOfClevr("val", 1, 16, 3)
    (axes,) = dataset.plot(dataset[0]).axes
    assert axes.images[0].get_array().shape == (16, 16, 3)
    assert axes.lines[0].get_xydata().tolist() == dataset.centres[0].tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "all"}, "split must be one of .* got 'all'"),
        ({"shapes": ["star"]}, r"shapes must be one or more of .* got \['star'\]"),
        ({"shapes": []}, "shapes must be one or more of"),
        ({"shapes": ["circle", "circle", "square"]}, "shapes must be one or more of .*, all different, got"),
        ({"count": 0}, "count must be at least 1, got 0"),
        ({"radius": 0}, "radius must be at least 1, got 0"),
        ({"canvas": 49}, "canvas must be at least 50 for two objects of radius 10, got 49"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        SortOfClevr(**{"split": "train", "count": 1} | arguments)
