"""Tests of the targets and positions that are read from samples: crops, maps, boxes, keypoints, masks."""

import pytest
import torch

from lightning_coordconv.position import measure_dependence, observe
from tests.position.samples import images


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


def boxes(count: int, lower_is_larger: bool) -> list[dict[str, torch.Tensor]]:
    """Boxes in the image, whose heights are drawn by chance, or are larger further down, as in photographs."""
    generator = torch.Generator().manual_seed(1)
    samples = []
    for _ in range(count):
        centre = torch.rand(2, generator=generator) * 60 + 2
        half = 4 + 12 * (float(centre[1]) / 64 if lower_is_larger else float(torch.rand((), generator=generator)))
        box = torch.cat([centre - half, centre + half]).clamp(0, 64)[None]
        samples.append({"image": torch.rand(1, 64, 64, generator=generator), "boxes": box, "labels": torch.tensor([1])})
    return samples


@pytest.mark.slow
@pytest.mark.parametrize("lower_is_larger", [False, True])
def test_heights_that_the_border_limits_do_not_depend_on_position(lower_is_larger):
    found = observe(boxes(400, lower_is_larger))[1]
    measured = measure_dependence(found.what, found.positions, found.targets, found.images, found.content)
    assert measured.share.low > 0.05
    assert (measured.added.low > 0.2) if lower_is_larger else (measured.added.low < 0.02)


def squares(count: int, by_place: bool) -> list[dict[str, torch.Tensor]]:
    """A square in each image; its class is the side that it is on, or its brightness. The samples do not say where."""
    generator = torch.Generator().manual_seed(2)
    samples = []
    for _ in range(count):
        image = torch.zeros(1, 32, 32)
        row, column = torch.randint(26, (2,), generator=generator).tolist()
        bright = int(torch.randint(2, (), generator=generator))
        image[:, row : row + 6, column : column + 6] = 0.5 + 0.5 * bright
        samples.append({"image": image, "label": torch.tensor(int(column > 12) if by_place else bright)})
    return samples


@pytest.mark.parametrize("by_place", [True, False])
def test_an_object_whose_place_is_not_known_is_found_by_its_contrast(by_place):
    (found,) = observe(squares(200, by_place))
    assert found.what == "class given the centre of the image's contrast"
    measured = measure_dependence(found.what, found.positions, found.targets, found.images, found.content)
    assert (measured.added.low > 0.3) if by_place else (measured.added.high < 0.02)


def test_numbers_are_read_with_the_places_of_all_channels_and_episodes_are_groups():
    image = torch.zeros(3, 8, 16)
    image[0, 2, 4] = image[1, 6, 12] = 1
    (found,) = observe([{"image": image, "reward": 0.5, "episode": 7}] * 3)
    assert found.what == "reward given the centres of contrast of the channels"
    expected = torch.tensor([2.5 / 4 - 1, 4.5 / 8 - 1, 6.5 / 4 - 1, 12.5 / 8 - 1])
    torch.testing.assert_close(found.positions[0, :4], expected)
    assert found.images.tolist() == [7, 7, 7]


@pytest.mark.parametrize(
    ("sample", "places"),
    [
        ({"keypoints": torch.tensor([[4.0, 6.0], [12.0, 2.0]])}, [[0.5, -0.5], [-0.5, 0.5]]),
        ({"keypoints": torch.tensor([[[4.0, 6.0, 2.0], [12.0, 2.0, 0.0]]])}, [[0.5, -0.5]]),
        ({"keypoints": torch.tensor([[4.0, 6.0], [torch.nan, 2.0]])}, [[0.5, -0.5]]),
        ({"xy_scaled": torch.tensor([-0.5, 0.5])}, [[0.5, -0.5]]),
        ({"xy_scaled": torch.tensor([4.0, 6.0]), "xy": torch.tensor([4, 6])}, [[0.625, -0.4375]]),
        ({"keypoints": torch.tensor([[4.0, 6.0]]), "origin": (5, 5), "size": (80, 80)}, [[0.5, -0.5]]),
        ({"xy": torch.tensor([3.5, 5.5])}, [[0.5, -0.5]]),
        ({"xy": torch.tensor([39.5, 59.5]), "size": torch.tensor([160.0, 80.0])}, [[0.5, -0.5]]),
    ],
    ids=["pixels", "visibility", "nan", "scaled", "scaled and pixels", "crop", "point", "point of a file"],
)
def test_places_of_keypoints_are_those_in_the_image_that_is_seen(sample, places):
    """An image of 8 x 16; a keypoint is x and y, a position row and column."""
    (found,) = observe([{"image": torch.rand(1, 8, 16), **sample}])
    assert found.is_place
    torch.testing.assert_close(found.positions, torch.tensor(places))


@pytest.mark.parametrize("boxes", [True, False])
def test_images_without_an_object_have_no_keypoints(boxes):
    sample = {"image": torch.rand(1, 8, 8), "keypoints": torch.zeros(0, 3, 3)}
    if boxes:
        sample |= {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    assert observe([sample] * 4) == []


@pytest.mark.parametrize(
    ("keypoints", "message"),
    [
        (
            torch.linspace(0.1, 0.9, 6).reshape(3, 2),
            r"keypoints must be x and y in pixels, but all numbers are from 0\.1 to 0\.9",
        ),
        (torch.rand(3, 4), r"keypoints must have the shape .*, got \(3, 4\)"),
        (torch.rand(3), r"keypoints must have the shape .*, got \(3,\)"),
    ],
)
def test_wrong_keypoints_are_refused(keypoints, message):
    with pytest.raises(ValueError, match=message):
        observe([{"image": torch.rand(1, 8, 8), "keypoints": keypoints}] * 4)


@pytest.mark.slow
@pytest.mark.parametrize("follows_place", [False, True])
def test_keypoints_in_boxes_are_compared_with_the_place_of_the_box(follows_place):
    """Two keypoints, whose means differ; the first is lower in its box the further right the box is, or by chance."""
    generator = torch.Generator().manual_seed(4)
    samples = []
    for _ in range(200):
        left, top = (torch.rand(2, generator=generator) * 44).tolist()
        down = left / 44 if follows_place else float(torch.rand((), generator=generator))
        samples.append(
            {
                "image": torch.rand(1, 64, 64, generator=generator),
                "boxes": torch.tensor([[left, top, left + 20, top + 20]]),
                "labels": torch.tensor([1]),
                "keypoints": torch.tensor([[[left + 5, top + 10 * down, 2.0], [left + 9, top + 19, 1.0]]]),
            }
        )
    found = {one.what: one for one in observe(samples)}
    row, column = (found[f"{axis} of a keypoint in its box given the centre of the box"] for axis in ("row", "column"))
    assert not row.is_place
    torch.testing.assert_close(column.targets, torch.zeros(400), rtol=0, atol=1e-5)
    torch.testing.assert_close(row.targets.reshape(200, 2)[:, 1], torch.zeros(200), rtol=0, atol=1e-5)
    measured = measure_dependence(row.what, row.positions, row.targets, row.images, row.content)
    assert (measured.added.low > 0.3) if follows_place else (measured.added.low < 0.02)


@pytest.mark.parametrize("known", [1, 2, 41, 1000])
@pytest.mark.parametrize("kind", ["mask", "map"])
def test_pixels_are_drawn_among_those_that_are_known(kind, known):
    """Of 64 x 64 pixels nearly all have no class, or no number; each image still counts, and no pixel counts twice."""
    generator = torch.Generator().manual_seed(5)
    samples, expected = [], []
    for _ in range(30):
        chosen = torch.randperm(64 * 64, generator=generator)[:known]
        values = torch.full((64 * 64,), 255) if kind == "mask" else torch.full((64 * 64,), torch.nan)
        values[chosen] = torch.arange(known).to(values.dtype) % 7
        expected.append(set(chosen.tolist()))
        samples.append({"image": torch.rand(1, 64, 64, generator=generator), "mask": values.view(64, 64)})
        if kind == "map":
            samples[-1]["height"] = samples[-1].pop("mask")
    (found,) = observe(samples)
    assert found.images.unique().tolist() == list(range(30))
    assert len(found.targets) == 30 * min(known, 32)
    assert bool(found.targets.isfinite().all())
    cells = ((found.positions + 1) * 32 - 0.5).round().long()
    for image, (row, column), target in zip(found.images.tolist(), cells.tolist(), found.targets, strict=True):
        assert 64 * row + column in expected[image]
        key = "mask" if kind == "mask" else "height"
        assert samples[image][key][row, column] == target
    if known <= 41:  # those that replace others are drawn without repetition
        pairs = set(zip(found.images.tolist(), map(tuple, cells.tolist()), strict=True))
        assert len(pairs) >= 0.97 * len(found.targets)


def test_known_pixels_are_drawn_evenly():
    """Whether a pixel was drawn at once or replaces one without a class, each known one has the same chance."""
    mask = torch.full((8, 8), 255)
    mask[:4] = 0
    found = observe([{"image": torch.zeros(1, 8, 8), "mask": mask}] * 100)[0]
    cells = ((found.positions + 1) * 4 - 0.5).round().long()
    counts = (cells[:, 0] * 8 + cells[:, 1]).bincount(minlength=64)
    assert counts[32:].sum() == 0
    chi_squared = ((counts[:32] - counts.sum() / 32).square() / (counts.sum() / 32)).sum()
    assert chi_squared < 61.1  # exceeded by chance once in a thousand, for 31 degrees of freedom


BOX = {"boxes": torch.tensor([[0.0, 0.0, 8.0, 8.0]])}
WRONG = [
    ({"label": "cat"}, "'label' of sample 1 must hold integers, the numbers of classes, got 'cat'"),
    ({"labels": ["cat", "dog"], **BOX}, r"'labels' of sample 1 must hold integers.*, got \['cat', 'dog'\]"),
    ({"label": None}, "'label' of sample 1 must hold integers, the numbers of classes, got None"),
    ({"keypoints": "none"}, "'keypoints' of sample 1 must hold numbers, got 'none'"),
    ({"labels": torch.tensor([0]), "boxes": "none"}, "'boxes' of sample 1 must hold numbers, got 'none'"),
    ({"label": 0.25}, r"'label' of sample 1 must hold integers.*got 0.25 torch.float32.*a number to predict has"),
    ({"label": torch.tensor(2.0)}, r"'label' of sample 1 must hold integers.*got 2 torch.float32"),
    ({"label": torch.tensor([0, 1])}, r"'label' of sample 1 must be one class, got the shape \(2,\)"),
    ({"label": -100}, "'label' of sample 1 must hold classes from 0, got -100.*set ignore_index"),
    ({"labels": torch.tensor([0.5]), **BOX}, "'labels' of sample 1 must hold integers"),
    ({"labels": torch.tensor([-2]), **BOX}, "'labels' of sample 1 must hold classes from 0, got -2"),
    ({"labels": torch.tensor([0]), "boxes": BOX["boxes"] * torch.nan}, "'boxes' of sample 1 must be finite, got nan"),
    ({"labels": torch.tensor([0]), "boxes": torch.tensor([[8, 9, 5, 4]])}, "'boxes' of sample 1 must be x1, y1"),
    ({"mask": torch.rand(16, 16)}, "'mask' of sample 1 must hold integers"),
    ({"mask": torch.full((16, 16), -3)}, "'mask' of sample 1 must hold classes from 0, got -3"),
    ({"height": float("nan")}, "'height' of sample 1 must be finite, got nan"),
    ({"height": torch.tensor([torch.inf])}, "'height' of sample 1 must be finite, got inf"),
    ({"label": 0, "image": torch.full((1, 16, 16), torch.nan)}, "'image' of sample 1 must be finite, got nan"),
]


@pytest.mark.parametrize(("target", "message"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
def test_numbers_from_which_nothing_can_be_concluded_are_refused(target, message):
    image = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=message):
        observe([{"image": image}, {"image": image} | target])


@pytest.mark.parametrize("key", ["label", "labels", "mask"])
def test_a_class_that_means_none_does_not_count(key):
    image = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0))
    kinds = {
        "label": lambda kind: {"label": kind},
        "labels": lambda kind: {"labels": torch.tensor([kind, 2]), "boxes": BOX["boxes"].repeat(2, 1)},
        "mask": lambda kind: {"mask": torch.full((16, 16), kind)},
    }
    found = observe([{"image": image} | kinds[key](kind) for kind in (-100, 0, -100, 1)], ignore_index=-100)
    assert found[0].targets.unique().tolist() == ([0, 1, 2] if key == "labels" else [0, 1])


@pytest.mark.parametrize("path", [False, True])
def test_images_that_are_drawn_several_times_do_not_know_each_other(path):
    generator = torch.Generator().manual_seed(0)
    samples = []
    for number in range(40):
        image, (top, left) = torch.rand(1, 16, 16, generator=generator), torch.rand(2, generator=generator) * 16
        label = torch.randint(3, (), generator=generator)
        known = {"path": f"{number}.png"} if path else {}
        # a transform that changes each copy leaves the path
        copies = [image + 0.01 * path * torch.rand(1, 16, 16, generator=generator) for _ in range(5)]
        samples += [{"image": copy, "label": label, "top": top, "left": left, **known} for copy in copies]
    (found,) = observe(samples)
    measured = measure_dependence(found.what, found.positions, found.targets, found.images, found.content)
    assert measured.images == 40
    assert measured.share.low < 0.02
    assert measured.added.low < 0.02


def test_an_image_without_contrast_shows_its_object_in_the_middle():
    (found,) = observe([{"image": torch.full((1, 8, 16), 0.5), "label": 0}])
    assert found.positions.tolist() == [[0.0, 0.0]]


def test_numbers_of_no_known_form_are_not_left_out_for_the_brightness():
    assert observe([{"image": image, "angles": torch.rand(3)} for image in images(4)]) == []
    (found,) = observe([{"image": image, "number": torch.tensor([1, 2])} for image in images(4)])
    assert found.what.startswith("brightness")


def test_a_negative_number_that_does_not_count_is_none_of_uint8():
    mask = torch.full((8, 8), 255, dtype=torch.uint8)
    (found,) = observe([{"image": torch.rand(1, 8, 8), "mask": mask}], ignore_index=-1)
    assert found.targets.unique().tolist() == [255]
