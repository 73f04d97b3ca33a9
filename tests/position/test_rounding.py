"""Tests that rounding is neither content nor a target, at any scale, and that small contrasts still are."""

import pytest
import torch
from torch.nn.functional import one_hot

from lightning_coordconv.position import measure_dependence, observe

COUNT = 150
EPS = torch.finfo(torch.float32).eps
UNITS = [1e-6, 1.0, 1e6]
PLACES = torch.rand(COUNT, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1
SIDE = (PLACES[:, 1] > 0).long()
CHANCE = torch.randint(3, (COUNT,), generator=torch.Generator().manual_seed(2))


def shares(boxes, size):
    """Return boxes as they come from files of centres and sizes in shares of the image, of six digits."""
    centres, extents = (boxes[:2] + boxes[2:]) / 2 / size, (boxes[2:] - boxes[:2]) / size
    centres, extents = (torch.tensor([round(float(number), 6) for number in part]) for part in (centres, extents))
    return torch.cat([centres - extents / 2, centres + extents / 2]) * size


FORMATS = {
    "exact": lambda box, size: box,
    "shares": shares,
    "resized": lambda box, size: box / size * 0.937 / 0.937 * size,
}


def square(column, row, size, written, brightness=1.0):
    """Return a sample of a square of 3 x 3 pixels, the half of the image as its class, and a keypoint in it."""
    image = torch.zeros(3, size, size)
    image[:, row : row + 3, column : column + 3] = brightness
    box = FORMATS[written](torch.tensor([column, row, column + 3.0, row + 3.0]), size)
    point = torch.tensor([[[column + 0.3, row + 2.1]]])
    return {
        "image": image,
        "boxes": box[None],
        "labels": torch.tensor([int(2 * column + 3 > size)]),
        "keypoints": point,
    }


def squares(size, written="exact", brightness=lambda right: 1.0):
    generator = torch.Generator().manual_seed(0)
    places = (torch.rand(COUNT, 2, generator=generator) * (size - 8) + 2).long().tolist()
    return [square(x, y, size, written, brightness(2 * x + 3 > size)) for x, y in places]


def measure(found):
    return measure_dependence(found.what, found.positions, found.targets, found.images, found.content)


@pytest.mark.parametrize("written", FORMATS)
@pytest.mark.parametrize("size", [32, 200])
def test_equal_objects_at_other_places_have_equal_contents_and_heights(size, written):
    kind, height, row, column = observe(squares(size, written))
    assert not kind.content.any()
    assert measure(kind).added.low > 0.5
    assert not measure(kind).constant
    assert measure(height).constant
    if written == "exact":
        assert measure(row).constant
        assert measure(column).constant


@pytest.mark.parametrize("step", [1 / 255, 1 / 65535])
def test_a_step_of_an_image_is_content(step):
    """Squares of the right half are darker by one step: the content tells the class, and position adds nothing."""
    kind = observe(squares(32, brightness=lambda right: 1.0 - step * right))[0]
    assert measure(kind).share.low > 0.5
    assert measure(kind).added.high < 0.1


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("shift", [0.0, 1.0, 100.0])
def test_rounding_of_a_content_tells_nothing(unit, shift):
    """A column is larger by one unit in the last place on one side; the other column is content."""
    content = torch.stack([1 + shift + EPS * (1 + shift) * SIDE, CHANCE + shift], dim=1) * unit
    clean = torch.stack([torch.zeros(COUNT), CHANCE.float()], dim=1)
    found, wanted = (measure_dependence("side", PLACES, SIDE, torch.arange(COUNT), each) for each in (content, clean))
    assert wanted.added.low > 0.5
    assert found.added.value == pytest.approx(wanted.added.value, abs=0.01)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("shift", [0.0, 1.0, 100.0])
def test_the_unit_and_the_offset_of_a_content_do_not_matter(unit, shift):
    """Contrasts of an eighth-bit step of the offset at least tell the class in every unit."""
    content = (one_hot(SIDE).float() * max(shift, 1) / 255 + shift) * unit
    found = measure_dependence("side", PLACES, SIDE, torch.arange(COUNT), content)
    assert found.share.low > 0.5
    assert found.added.high < 0.1


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(("step", "constant"), [(EPS, True), (4 * EPS, True), (1 / 65535, False), (1 / 255, False)])
def test_a_number_is_constant_if_it_varies_by_rounding(unit, step, constant):
    found = measure_dependence("number", PLACES, (1 + step * SIDE) * unit, torch.arange(COUNT))
    assert found.constant is constant
    assert (found.share.low > 0.5) is not constant
    assert (found.share.high == 0) is constant


def test_a_class_is_constant_if_there_is_no_other_in_enough_images():
    for rare, constant in ((0, True), (3, True), (20, False)):
        targets = (torch.arange(COUNT) < rare).long()
        assert measure_dependence("class", PLACES, targets, torch.arange(COUNT)).constant is constant
