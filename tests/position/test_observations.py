"""What is read from samples: targets and where they are."""

import pytest
import torch

from lightning_coordconv.position import measure_dependence, observe


@pytest.mark.parametrize(
    "target",
    [
        {"boxes": torch.tensor([[4.0, 2.0, 8.0, 6.0]]), "labels": torch.tensor([1])},
        {"label": torch.tensor(3), "top": torch.tensor(4), "left": torch.tensor(6)},
        {"label": torch.tensor(3), "xy": torch.tensor([6.0, 4.0])},
    ],
)
def test_positions_in_a_crop_are_those_of_the_full_image(target):
    """A crop of 12 x 16 pixels whose first pixel is at row 8, column 20 of an image of 40 x 80."""
    image = torch.rand(1, 12, 16, generator=torch.Generator().manual_seed(0))
    alone = observe([{"image": image, **target}] * 4)[0].positions
    torch.testing.assert_close(alone[0], torch.tensor([4 / 6 - 1, 6 / 8 - 1]))
    for frame in (
        {"origin": (8, 20), "size": (40, 80)},
        {"origin": torch.tensor([8, 20]), "size": torch.tensor([40, 80])},
    ):
        cropped = observe([{"image": image, **target, **frame}] * 4)[0].positions
        torch.testing.assert_close(cropped[0], torch.tensor([12 / 20 - 1, 26 / 40 - 1]))


@pytest.mark.parametrize("target", [{}, {"mask": torch.ones(12, 16, dtype=torch.long)}])
def test_pixels_of_a_crop_lie_where_the_crop_lies(target):
    sample = {"image": torch.rand(1, 12, 16), **target, "origin": (8, 20), "size": (40, 80)}
    rows, columns = observe([sample] * 20)[0].positions.unbind(1)
    for values, first, length, full in ((rows, 8, 12, 40), (columns, 20, 16, 80)):
        pixels = (values + 1) / 2 * full
        assert first < float(pixels.min()) < first + 2
        assert first + length - 2 < float(pixels.max()) < first + length


@pytest.mark.slow
def test_a_map_of_numbers_is_read_with_the_brightness_at_the_pixel_as_content():
    """The measured brightness is the height times a sensitivity that falls from left to right."""
    generator = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(60):
        height = torch.rand(1, 12, 16, generator=generator)
        samples.append({"image": height * torch.linspace(1, 0.3, 16), "height": height})
    (found,) = observe(samples)
    assert found.what == "height of a pixel given its place"
    assert found.targets.is_floating_point()
    measured = measure_dependence(found.what, found.positions, found.targets, found.images, found.content)
    assert measured.share.high < 0.02
    assert measured.given_content.low > 0.5
