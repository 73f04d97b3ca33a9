"""Tests of the smoothness of interpolations, with objects that move, fade, jump or disappear."""

import pytest
import torch

from lightning_coordconv.generative import interpolation_smoothness

FRAMES, RADIUS = 9, 3


def frame(blue, red):
    image = torch.ones(3, 32, 32)
    for (x, y), dark in ((blue, [0, 1]), (red, [1, 2])):
        rows, columns = slice(y - RADIUS, y + RADIUS + 1), slice(x - RADIUS, x + RADIUS + 1)
        image[:, rows, columns] = 1
        for channel in dark:
            image[channel, rows, columns] = -1
    return image


def test_moving():
    path = torch.stack([frame((4 + 2 * t, 5), (10, 12 + 2 * t)) for t in range(FRAMES)])
    found = interpolation_smoothness(path[None], RADIUS)
    assert found["intact"] == 1
    assert found["jump"].item() == pytest.approx(1 / (FRAMES - 1))


def test_fading():
    start, end = frame((4, 5), (10, 10)), frame((20, 5), (10, 26))
    path = torch.stack([torch.lerp(start, end, t / (FRAMES - 1)) for t in range(FRAMES)])
    found = interpolation_smoothness(path[None], RADIUS)
    assert found["intact"] < 1  # half-way both copies are as faint as the background
    assert found["jump"] == 1


def test_at_once():
    path = torch.stack([frame((4, 5), (10, 10))] * 5 + [frame((20, 5), (10, 26))] * 4)
    assert interpolation_smoothness(path[None], RADIUS) == {"intact": torch.tensor(1.0), "jump": torch.tensor(1.0)}


def test_never_moving_and_lost_objects_count_as_jumps():
    still = torch.stack([frame((4, 5), (10, 10))] * 4)
    assert interpolation_smoothness(torch.stack([still, torch.ones_like(still)]), RADIUS) == {
        "intact": torch.tensor(0.5), "jump": torch.tensor(1.0)
    }  # fmt: skip


@pytest.mark.parametrize("shape", [(4, 3, 8, 8), (2, 1, 3, 8, 8)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="expected at least two frames a path"):
        interpolation_smoothness(torch.zeros(shape), RADIUS)
