"""Tests of finding objects and their flaws, in images made by hand and in real ones."""

import pytest
import torch

from lightning_coordconv.generative import SortOfClevr, find_flaws, find_objects
from lightning_coordconv.generative.metrics.objects import Objects

BLUE, RED = (-1.0, -1.0, 1.0), (1.0, -1.0, -1.0)


def canvas(*patches, size=24):
    """White, with rectangles (colour, left, top, width, height)."""
    image = torch.ones(3, size, size)
    for colour, left, top, width, height in patches:
        image[:, top : top + height, left : left + width] = torch.tensor(colour)[:, None, None]
    return image[None]


def found(image, radius=3):
    objects = find_objects(image, radius)
    return objects, {name for name, value in find_flaws(objects, radius).items() if value.item()}


def test_squares_by_hand():
    objects, wrong = found(canvas((BLUE, 2, 4, 7, 7), (RED, 12, 13, 7, 7)))
    assert objects.centres.tolist() == [[[5, 7], [15, 16]]]
    assert objects.area.tolist() == [[49, 49]]
    assert objects.fit.tolist() == [[1, 1]]
    assert not wrong


@pytest.mark.slow
@pytest.mark.parametrize(("size", "radius"), [(64, 10), (32, 5)])
def test_real_images_are_well_formed_and_their_centres_found(size, radius):
    batch = SortOfClevr("test", 2000, size, radius).__getitems__(list(range(2000)))
    objects = find_objects(batch["image"], radius)
    assert not torch.stack(list(find_flaws(objects, radius).values())).any()
    apart = (batch["centre"][:, 0] - batch["centre"][:, 1]).abs().amax(1) > 2 * radius
    assert torch.equal(objects.centres[apart], batch["centre"][apart].float())
    assert (objects.centres - batch["centre"]).abs().max() < 1.2  # a hidden corner moves the blue centre


@pytest.mark.parametrize(
    ("patches", "flaw"),
    [
        ([(BLUE, 2, 4, 7, 7)], "missing"),
        ([(BLUE, 2, 4, 7, 7), (RED, 12, 13, 2, 7)], "missing"),
        ([(BLUE, 2, 4, 7, 7), (RED, 12, 13, 7, 7), (RED, 1, 15, 7, 7)], "extra"),
        ([(BLUE, 2, 4, 7, 7), (RED, 12, 13, 4, 7), (RED, 1, 15, 3, 7)], "broken"),  # two halves
        ([(BLUE, 2, 4, 7, 7), (RED, 8, 14, 14, 3)], "broken"),  # too flat
        ([((0.9, -0.9, -0.9), 2, 4, 7, 7), ((-0.1, -0.5, 0.1), 12, 13, 7, 7)], None),  # faint, yet closest to these
        ([((1.0, 0.1, 0.1), 2, 4, 7, 7), (RED, 12, 13, 7, 7)], "missing"),  # pink is background
    ],
)
def test_flaws(patches, flaw):
    assert found(canvas(*patches))[1] == ({flaw} if flaw else set())


def test_noise_is_broken():
    images = torch.rand(50, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.stack(list(find_flaws(find_objects(images, 5), 5).values())).any(0).all()


def test_every_image_has_at_most_one_flaw():
    objects = Objects(
        torch.zeros(3, 2, 2), torch.tensor([[0, 900], [900, 900], [40, 40]]), torch.zeros(3, 2), torch.zeros(3, 2)
    )
    wrong = find_flaws(objects, 3)
    assert {name: value.tolist() for name, value in wrong.items()} == {
        "missing": [True, False, False], "extra": [False, True, False], "broken": [False, False, True]
    }  # fmt: skip


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (3, 8, 8)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected square RGB images \(B, 3, S, S\), got shape"):
        find_objects(torch.zeros(shape), 3)
