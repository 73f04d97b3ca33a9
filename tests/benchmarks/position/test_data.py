"""Tests of the position benchmark's data (masks, keypoints, sensors, wafers, signals, digits) and task scores."""

import math

import pytest
import torch
from torch import Generator, nn

from benchmarks.position import keypoints, objects, patches, sensor, signals, wafers
from benchmarks.position.configs import TASKS
from benchmarks.position.scattered_digits import OneOrTwoClasses
from lightning_coordconv.layers import AddCoords


def generator() -> Generator:
    return Generator().manual_seed(0)


def test_sensor_measures_less_far_from_the_middle():
    data = sensor.bumps("val", generator())
    for image, height, origin in zip(data["image"], data["height"], data["origin"], strict=True):
        row, column = divmod(int(height.argmax()), 32)
        i = (int(origin[0]) + row + 0.5) / 48 - 1
        j = (int(origin[1]) + column + 0.5) / 48 - 1
        expected = float(height.max()) * (1 - 0.35 * (i**2 + j**2) + 0.15 * i)
        assert float(image[0, row, column]) == pytest.approx(expected, abs=0.06)  # the noise has 0.01


class Function(nn.Module):
    """A network that computes a function."""

    def __init__(self, function):
        super().__init__()
        self.forward = function


def test_sensor_error_of_an_ideal_and_a_blind_network():
    data = sensor.bumps("val", generator())
    ideal, blind = Function(lambda image: data["height"]), Function(lambda image: image)
    assert float(sensor.SensorTask(ideal).score(data)[1].max()) == 0
    errors = sensor.SensorTask(blind).score(data)[1]
    assert 5 < float(errors.mean()) < 40


def test_wafers_class_is_the_distance_in_millimetres():
    for split, radii in (("train", {1.0, 1.5}), ("test", {0.75})):
        data = wafers.wafers(split, generator())
        for label, top, left, field in zip(*(data[k] for k in ("label", "top", "left", "millimetres")), strict=True):
            radius = float(field.max()) * 48 / 47
            assert min(abs(radius - r) for r in radii) < 1e-5
            distance = radius * math.hypot(float(top) / 24 - 1, float(left) / 24 - 1)
            assert (distance > 0.5) == bool(label)
            row, column = int(top), int(left)
            assert float(field[0, row, column]) == pytest.approx(radius * (float(top) / 24 - 1), abs=0.04)
            assert float(field[1, row, column]) == pytest.approx(radius * (float(left) / 24 - 1), abs=0.04)


@pytest.mark.slow
def test_wafers_density_tells_the_class_in_four_of_five():
    wafers.COUNTS["train"] = 2000
    data = wafers.wafers("train", generator())
    row, column = torch.meshgrid(torch.arange(48) + 0.5, torch.arange(48) + 0.5, indexing="ij")
    near = torch.hypot(row - data["top"][:, None, None], column - data["left"][:, None, None]) < 3.5
    density = (data["image"][:, 0] * near).sum((1, 2)) / near.sum((1, 2))
    assert float(((density > 0.62).long() == data["label"]).float().mean()) == pytest.approx(0.8, abs=0.03)


@pytest.mark.slow
def test_wafers_mostly_of_one_size_have_a_shortcut_that_the_test_has_not():
    """Beyond a third of the map's radius: 50 mm on wafers of 300 mm, 25 mm on those of the test."""
    wafers.COUNTS.update(train=2000, test=2000)
    right = {}
    for split in ("train", "test"):
        data = wafers.wafers_mostly_one_size(split, generator())
        share = torch.hypot(data["top"] / 24 - 1, data["left"] / 24 - 1)
        right[split] = float(((share > 1 / 3).long() == data["label"]).float().mean())
    assert right == {"train": pytest.approx(0.99, abs=0.01), "test": pytest.approx(0.58, abs=0.04)}


@pytest.mark.slow
@pytest.mark.parametrize("make", [objects.clevr_masks, objects.digit_masks])
def test_masks_say_the_cell_of_the_centre(make):
    data = make("val", generator())
    agreeing = total = 0
    for image, mask in zip(data["image"], data["mask"], strict=True):
        ink = image[0] > 0.25 if len(image) == 1 else image.min(0).values < 0.5
        assert torch.equal(mask > 0, ink)
        for label in mask.unique().tolist():
            if label == 0:
                continue
            rows, columns = (mask == label).nonzero().unbind(1)
            middle = [(int(values.min()) + int(values.max()) + 1) / 2 for values in (rows, columns)]
            row, column = divmod(label - 1, 4)
            total += 1
            # a digit's ink is not in the middle of its 14 x 14 pixels, and one square can hide a corner of another
            agreeing += all(8 * k - 3 <= m <= 8 * (k + 1) + 3 for k, m in zip((row, column), middle, strict=True))
    assert total > 30
    assert agreeing >= 0.95 * total


def test_sides_differ_in_nothing_but_their_place():
    objects.COUNTS["train"] = 600
    data = objects.sides("train", generator())
    mask, image = data["mask"], data["image"]
    columns = torch.arange(80).expand_as(mask)
    assert columns[mask == 1].max() < 40 <= columns[mask == 2].min()
    assert columns[mask == 1].min() >= 13
    assert 80 - 1 - columns[mask == 2].max() >= 12
    means = [image.movedim(1, -1)[mask == label].mean(0) for label in (1, 2)]
    torch.testing.assert_close(*means, atol=0.06, rtol=0)
    counts = [(mask == label).flatten(1).any(1).float().mean().item() for label in (1, 2)]
    assert counts == pytest.approx([0.75, 0.75], abs=0.08)


def test_keypoints_are_the_middle_of_the_red_pixels():
    data = keypoints.keypoints("val", generator())
    for image, xy in zip(data["image"], data["xy_scaled"], strict=True):
        rows, columns = ((image[0] > 0.5) & (image[2] < -0.5)).nonzero().unbind(1)
        middle = torch.stack([(values.min() + values.max() + 1) / 2 for values in (columns, rows)])
        torch.testing.assert_close((xy + 1) * 24, middle)


@pytest.mark.slow
def test_detection_labels_follow_the_boxes_or_are_all_the_same():
    for label in ("side", "digit"):
        data = OneOrTwoClasses(label, num_images=8, num_eval_images=80, clip=True).dataset("val")
        for boxes, labels in zip(data.boxes, data.labels, strict=True):
            middle = boxes[:, [0, 2]].mean(1)
            assert torch.equal(labels, torch.where(middle < 32, 1, 2) if label == "side" else torch.ones_like(labels))


@pytest.mark.slow
def test_digits_of_the_null_say_nothing_of_their_cell():
    data = TASKS["digits_content"].make_data(0).dataset("train")
    assert torch.equal(data.labels, data.digits)
    table = torch.zeros(10, 4).index_put_((data.labels, data.cells), torch.ones(len(data)), accumulate=True)
    shares = table / table.sum(1, keepdim=True)
    assert float((shares - 0.25).abs().max()) < 0.06


def test_diffusion_sees_each_patch_in_the_frame_of_its_image():
    """The image is its own column coordinate, so what a patch shows must be the coordinate that a layer sees."""

    class Seen(nn.Module):
        def __init__(self):
            super().__init__()
            self.coordinates = AddCoords()

        def forward(self, noisy):
            scale = noisy.amax((1, 2, 3), keepdim=True) - noisy.amin((1, 2, 3), keepdim=True)
            self.image = noisy / scale  # what is shown is multiplied by a number that depends on the noise level
            self.grid = self.coordinates(noisy)[:, -1:]
            return noisy

    column = torch.linspace(-1, 1, 32).expand(5, 1, 32, 32)
    net = Seen()
    task = patches.DenoisingTask(net)
    for training, size, count in ((True, 16, 5), (False, 32, 5 * patches.LEVELS)):
        task.train(training)
        _, errors = task.score({"image": column * 1e6})
        assert net.image.shape == (count, 1, size, size)
        span = net.grid.amax((1, 2, 3), keepdim=True) - net.grid.amin((1, 2, 3), keepdim=True)
        torch.testing.assert_close(net.image, net.grid / span, atol=1e-3, rtol=0)
        assert errors.shape == (5,)


def test_time_window_class_is_the_third_with_the_pulse():
    data = signals.events("val", generator())
    for signal, label in zip(data["image"], data["label"], strict=True):
        time = int(signal.abs().argmax())
        assert 18 <= time < 110
        nearest = [abs(time - edge) for edge in (20 + 88 / 3, 20 + 176 / 3)]
        if min(nearest) > 3:  # noise can move the highest sample of a pulse
            assert int(label) == (time > 20 + 88 / 3) + (time > 20 + 176 / 3)
