"""Tests of masks in COCO's format: polygons, run lengths, transforms, and refused annotations."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2

from lightning_coordconv.detection import CocoDetection
from lightning_coordconv.detection.masks import run_lengths
from tests.detection.annotations import annotation, write
from tests.detection.test_coco_files import VALUES
from tests.photographs import noise
from tests.run_lengths import compressed, mask_of, runs_of

HEIGHT, WIDTH = 30, 40
SQUARE = [10, 5, 20, 5, 20, 15, 10, 15]
QUICK = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("masks")
    for seed, name in enumerate("ab"):
        noise((WIDTH, HEIGHT), seed=seed).convert("RGB").save(root / f"{name}.png")
    return root


def dataset(folder: Path, *segmentations: object, transforms: tuple[Any, ...] = (), **options: Any) -> CocoDetection:
    entries = [
        annotation(number, [0, 0, WIDTH, HEIGHT], segmentation=found) for number, found in enumerate(segmentations, 1)
    ]
    return CocoDetection(folder, write(folder, annotations=entries), transforms, targets=["masks"], **options)


def read(folder: Path, segmentation: object) -> np.ndarray:
    return dataset(folder, segmentation)[0]["masks"][0].numpy()


def even_odd(polygon: list[float]) -> np.ndarray:
    """Return the pixels whose centre a ray leaves through an odd number of edges."""
    corners = list(zip(polygon[::2], polygon[1::2], strict=True))
    inside = np.zeros((HEIGHT, WIDTH), bool)
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        if ay != by:
            inside ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) * (bx - ax) / (by - ay))
    return inside


def distance_to_outline(polygon: list[float]) -> np.ndarray:
    corners = np.array(polygon).reshape(-1, 2)
    centres = np.stack(np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5), axis=-1)
    distances = []
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        share = (((centres - a) @ (b - a)) / max(float((b - a) @ (b - a)), 1e-9)).clip(0, 1)
        distances.append(np.linalg.norm(centres - (a + share[..., None] * (b - a)), axis=-1))
    return np.min(distances, axis=0)


@pytest.mark.slow
@QUICK
@given(st.lists(st.integers(-20, 180), min_size=3, max_size=7), st.data())
def test_a_polygon_is_filled_by_the_even_odd_rule(folder, xs, data):
    ys = data.draw(st.lists(st.integers(-20, 140), min_size=len(xs), max_size=len(xs)))
    polygon = [edge / 4 for point in zip(xs, ys, strict=True) for edge in point]
    expected = even_odd(polygon)
    clear = distance_to_outline(polygon) > 1  # pycocotools rounds the outline to a fifth of a pixel
    if (expected & clear).any():
        np.testing.assert_array_equal(read(folder, [polygon])[clear], expected[clear])


def test_a_rectangle_of_whole_pixels_is_exact_and_polygons_are_united(folder):
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[5:15, 10:20] = 1
    np.testing.assert_array_equal(read(folder, [SQUARE]), expected)
    expected[0:3, 15:40] = 1
    expected[10:20, 15:25] = 1
    shifted = [edge + 5 for edge in SQUARE]
    np.testing.assert_array_equal(read(folder, [SQUARE, [15, 0, 50, 0, 50, 3, 15, 3], shifted]), expected)


def masks() -> st.SearchStrategy[np.ndarray]:
    rows = st.lists(st.lists(st.booleans(), min_size=WIDTH, max_size=WIDTH), min_size=3, max_size=3)
    return rows.map(lambda few: np.repeat(np.array(few), HEIGHT // 3, axis=0)).filter(np.any)


@pytest.mark.slow
@QUICK
@given(masks())
def test_run_lengths_are_read_in_both_forms(folder, mask):
    runs = runs_of(mask)
    np.testing.assert_array_equal(mask_of(runs, HEIGHT, WIDTH), mask)
    for counts in (runs, compressed(runs)):
        np.testing.assert_array_equal(read(folder, {"size": [HEIGHT, WIDTH], "counts": counts}), mask)
    assert run_lengths(torch.from_numpy(mask)) == {"size": [HEIGHT, WIDTH], "counts": compressed(runs)}


def runs(*counts: int) -> dict[str, Any]:
    return {"size": [HEIGHT, WIDTH], "counts": list(counts)}


FULL = HEIGHT * WIDTH
WRONG = [
    (None, "has the segmentation None, but it must be a list of polygons or an object with size and counts"),
    ([], "has the segmentation [], but it must be a list of polygons"),
    ("polygon", "has the segmentation 'polygon', but it must be a list of polygons"),
    ([[]], "has the segmentation[0] of 0 numbers, but a polygon must have an even number of them, at least 6"),
    ([SQUARE, SQUARE[:7]], "has the segmentation[1] of 7 numbers, but a polygon must have an even number"),
    ([SQUARE[:4]], "has the segmentation[0] of 4 numbers, but a polygon must have an even number of them, at least 6"),
    (SQUARE, "has the segmentation[0] 10, but it must be a list of numbers x1, y1, x2, y2"),
    ([[*SQUARE, "1", 2]], "has the segmentation[0] [10, 5, 20, 5, 20, 15, ...], but it must be a list of numbers"),
    ([[*SQUARE, 1e9, 2]], "has the segmentation[0] with x = 1000000000.0, but it must be from -40 to 80"),
    ([[*SQUARE, 2, -31]], "has the segmentation[0] with y = -31, but it must be from -30 to 60"),
    ([[*SQUARE, float("nan"), 2]], "has the segmentation[0] with x = nan, but it must be from -40 to 80"),
    ({"counts": [FULL]}, "has the segmentation size None, but it must be [30, 40], the height and width of its image"),
    ({"size": [WIDTH, HEIGHT], "counts": [0, FULL]}, "has the segmentation size [40, 30], but it must be [30, 40]"),
    ({"size": [HEIGHT, WIDTH]}, "has the segmentation counts None, but they must be a list of whole numbers from 0"),
    (runs(10, FULL), "has segmentation counts with the sum 1210, but it must be 1200, the pixels of its image of 40 x"),
    (runs(10, 20), "has segmentation counts with the sum 30, but it must be 1200"),
    (runs(-10, FULL + 10), "has the segmentation counts [-10, 1210], but they must be a list of whole numbers from 0"),
    (runs(10.0, FULL - 10), "has the segmentation counts [10.0, 1190], but they must be"),
    (runs(True, FULL - 1), "has the segmentation counts [True, 1199], but they must be"),
    ({"size": [HEIGHT, WIDTH], "counts": ""}, "has the segmentation counts '', but they must be"),
    ({"size": [HEIGHT, WIDTH], "counts": "é"}, "has the segmentation counts 'é', but they must be"),
    ({"size": [HEIGHT, WIDTH], "counts": "o" * 99}, "has the segmentation counts 'oooooooooooo...ooooooooooooo', but"),
    ({"size": [HEIGHT, WIDTH], "counts": compressed([5, FULL])}, "has segmentation counts with the sum 1205, but"),
    ({"size": [HEIGHT, WIDTH], "counts": compressed([5, -5])}, "has the segmentation counts '5K', but they must be"),
]  # fmt: skip


@pytest.mark.parametrize(("segmentation", "message"), WRONG, ids=range(len(WRONG)))
def test_segmentations_that_are_not_coco_s_are_named(folder, segmentation, message):
    with pytest.raises(ValueError, match=r"boxes.json: annotation 2 " + re.escape(message)) as caught:
        dataset(folder, [SQUARE], segmentation)
    assert str(caught.value).isprintable()  # one line


def test_an_annotation_without_a_mask_is_named_where_masks_are_needed(folder):
    path = write(folder, annotations=[annotation(4, [1, 1, 9, 9])])
    assert len(CocoDetection(folder, path)[0]["boxes"]) == 1
    with pytest.raises(ValueError, match=r"boxes.json: annotation 4 has no segmentation, but it must be a list of pol"):
        CocoDetection(folder, path, targets=["masks"])
    with pytest.raises(ValueError, match="targets must be of masks, keypoints, got 'mask'"):
        CocoDetection(folder, path, targets=["mask"])


def test_boxes_alone_do_not_read_masks(folder):
    path = write(folder, annotations=[annotation(4, [1, 1, 9, 9], segmentation=[[1]])])
    assert "masks" not in CocoDetection(folder, path)[0]


@pytest.mark.parametrize(
    "empty", [[[-9, -9, -5, -9, -5, -5]], [[3, 3, 3, 3, 3, 3]], runs(FULL), runs(FULL, 0)], ids=str
)
def test_masks_without_a_pixel_are_dropped_or_refused(folder, empty):
    data = dataset(folder, [SQUARE], empty)
    assert data.unseen == [2]
    assert data.remarks() == ["dropped objects whose mask has no pixel in their image (1), by id 2"]
    assert [len(data[0][key]) for key in ("boxes", "labels", "masks")] == [1, 1, 1]
    with pytest.raises(ValueError, match=r"annotation 2 has a segmentation without a pixel in an image of 40 x 30"):
        dataset(folder, [SQUARE], empty, bad_boxes="error")


@pytest.mark.slow
@QUICK
@given(VALUES | st.fixed_dictionaries({"size": st.just([HEIGHT, WIDTH]), "counts": VALUES}) | st.lists(VALUES))
def test_any_value_is_read_or_refused_in_one_line(folder, segmentation):
    try:
        sample = dataset(folder, [SQUARE], segmentation)[0]
    except ValueError as error:
        message = str(error)
        assert message.isprintable(), message
        assert "boxes.json: annotation 2 has " in message
    else:
        assert sample["masks"].shape[1:] == (HEIGHT, WIDTH)


def test_a_crowd_s_run_lengths_are_read_only_where_crowds_are(folder):
    crowd = annotation(2, [1, 1, 9, 9], iscrowd=1, segmentation=runs(5, 10, FULL - 15))
    path = write(folder, annotations=[annotation(1, [10, 5, 10, 10], segmentation=[SQUARE]), crowd])
    assert CocoDetection(folder, path, targets=["masks"])[0]["masks"].sum((1, 2)).tolist() == [100, 10]
    assert CocoDetection(folder, path, targets=["masks"], crowds=False)[0]["masks"].shape == (1, HEIGHT, WIDTH)


def test_an_image_without_objects_has_no_masks(folder):
    assert dataset(folder, [SQUARE])[1]["masks"].shape == (0, HEIGHT, WIDTH)


def test_masks_follow_the_image(folder):
    """A white image with the mask as its black pixels: after every transform they are still the same pixels."""
    mask = dataset(folder, [SQUARE])[0]["masks"][0]
    Image.fromarray((255 * (1 - mask)).numpy()).convert("RGB").save(folder / "a.png")
    changes = [
        v2.RandomHorizontalFlip(1.0), v2.RandomVerticalFlip(1.0), v2.CenterCrop((20, 30)),
        v2.Pad(3, fill={tv_tensors.Image: 255, "others": 0}),
        v2.RandomRotation((90, 90), expand=True), v2.Resize((60, 80), v2.InterpolationMode.NEAREST),
    ]  # fmt: skip
    for change in changes:
        sample = dataset(folder, [SQUARE], transforms=(change,))[0]
        assert sample["masks"].shape[1:] == sample["image"].shape[1:]
        torch.testing.assert_close(sample["masks"][0].bool(), sample["image"].mean(0) < 0.5)
        assert type(sample["masks"]) is torch.Tensor
    noise((WIDTH, HEIGHT)).convert("RGB").save(folder / "a.png")


def test_an_object_without_a_pixel_after_a_crop_is_left_out(folder):
    corners = [
        [0, 0, 5, 0, 5, 5, 0, 5],
        [30, 20, 39, 20, 39, 29, 30, 29],
    ]  # its box covers the image, its pixels do not
    sample = dataset(folder, [SQUARE], corners, transforms=(v2.CenterCrop((10, 20)),))[0]
    assert sample["masks"].sum((1, 2)).tolist() == [50]
    assert [len(sample[key]) for key in ("boxes", "labels", "area", "iscrowd")] == [1, 1, 1, 1]


def _without_mask(sample: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in sample.items() if key != "masks"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_mask, "return 1 boxes, but no masks"),
        (
            lambda sample: sample | {"masks": sample["masks"][:, ::2]},
            r"return masks of the size \(15, 40\), but the image",
        ),
        (lambda sample: sample | {"masks": sample["masks"][:0]}, "return 1 boxes, but 0 masks"),
        (v2.Pad(3, fill=255), "return masks with the value 255, but they must be 0 and 1: give a fill for the image"),
    ],
)
def test_transforms_that_lose_masks_are_refused(folder, change, message):
    with pytest.raises(ValueError, match=f"the transforms {message}"):
        dataset(folder, [SQUARE], transforms=(change,))[0]


def test_photographs_have_masks_in_all_three_forms(photographs):
    found = [entry["segmentation"] for entry in json.loads((photographs / "boxes.json").read_text())["annotations"]]
    assert {type(form) if isinstance(form, list) else type(form["counts"]).__name__ for form in found} == {
        list, "str", "list"
    }  # fmt: skip
    data = CocoDetection(photographs, photographs / "boxes.json", targets=["masks"])
    for sample in (data[index] for index in range(len(data))):
        for mask, (x1, y1, x2, y2) in zip(sample["masks"], sample["boxes"].tolist(), strict=True):
            assert mask.sum().item() / ((x2 - x1) * (y2 - y1)) == pytest.approx(1 - 2 * 0.3**2, abs=0.1)
            rows, columns = mask.nonzero(as_tuple=True)
            found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert found == pytest.approx([x1, y1, x2, y2], abs=1.5)


@pytest.mark.parametrize("polygon", [[12, 2, 18, 2, 18, 6], [2, 12, 8, 12, 8, 20]])
def test_a_mask_outside_of_its_box_is_refused(folder, polygon):
    entries = [annotation(7, [2, 2, 6, 4], segmentation=[polygon])]
    with pytest.raises(
        ValueError, match=r"7 .*has a segmentation from . = 1[23] to \d+, outside of its bbox from . = 2 to"
    ):
        CocoDetection(folder, write(folder, annotations=entries), targets=["masks"])[0]
