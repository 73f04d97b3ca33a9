"""Tests of keypoints in COCO's format: reading, transforms that mirror or crop, bad annotations, saved skeletons."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2

from lightning_coordconv.detection import CocoDetection, CocoDetectionDataModule, Skeleton
from lightning_coordconv.detection.skeleton import described_skeleton, read_skeleton
from tests.detection.annotations import annotation, write
from tests.detection.test_coco_files import VALUES
from tests.photographs import noise

HEIGHT, WIDTH = 30, 40
NAMES = ["nose", "left_hand", "right_hand"]
POINTS = [20, 4, 2, 12, 10, 1, 28, 14, 2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("keypoints")
    for seed, name in enumerate("ab"):
        noise((WIDTH, HEIGHT), seed=seed).convert("RGB").save(root / f"{name}.png")
    return root


def categories(names: object = NAMES, skeleton: object = ((1, 2), (1, 3))) -> list[dict[str, Any]]:
    lines = [list(bone) for bone in skeleton] if isinstance(skeleton, tuple) else skeleton
    return [{"id": i, "name": name, "keypoints": names, "skeleton": lines} for i, name in ((9, "cup"), (7, "cat"))]


def dataset(folder: Path, *transforms: Any, points: object = POINTS, **options: Any) -> CocoDetection:
    names, labelled = options.pop("names", NAMES), options.pop("labelled", 3)
    entry = annotation(4, [5, 2, 30, 20], keypoints=points, num_keypoints=labelled)
    path = write(folder, annotations=[entry], categories=categories(names))
    return CocoDetection(folder, path, transforms, targets=["keypoints"], **options)


def table(points: list[float]) -> list[list[float]]:
    return [points[start : start + 3] for start in range(0, len(points), 3)]


def test_keypoints_names_and_bones_are_read(folder):
    data = dataset(folder)
    assert data.skeleton == Skeleton(("nose", "left_hand", "right_hand"), ((0, 1), (0, 2)), (0, 2, 1))
    assert data[0]["keypoints"].tolist() == [table(POINTS)]
    assert data[0]["keypoints"].dtype == torch.float32
    assert data[1]["keypoints"].shape == (0, 3, 3)
    names = {"image", "boxes", "labels", "keypoints", "area", "iscrowd", "image_id", "file_name", "path"}
    assert set(data[0]) == names


def test_a_keypoint_that_is_not_labelled_is_zero(folder):
    points = [99, -3, 0, *POINTS[3:]]
    data = dataset(folder, points=points, labelled=2)
    assert data[0]["keypoints"].tolist() == [table([0, 0, 0, *POINTS[3:]])]


def mirrored(x: float) -> float:
    return WIDTH - 1 - x  # pixels are numbered from 0


LEFT_RIGHT = [[mirrored(20), 4, 2], [mirrored(28), 14, 2], [mirrored(12), 10, 1]]


def test_a_mirror_exchanges_left_and_right(folder):
    assert dataset(folder, v2.RandomHorizontalFlip(1.0))[0]["keypoints"].tolist() == [LEFT_RIGHT]
    upside_down = dataset(folder, v2.RandomVerticalFlip(1.0))[0]["keypoints"]
    assert upside_down.tolist() == [[[20, 25, 2], [28, 15, 2], [12, 19, 1]]]
    twice = dataset(folder, v2.RandomHorizontalFlip(1.0), v2.RandomHorizontalFlip(1.0))[0]["keypoints"]
    assert twice.tolist() == [table(POINTS)]


def test_turns_and_crops_exchange_nothing(folder):
    """A turn by 180 degrees is two mirrors: the order of the keypoints stays."""
    turned = dataset(folder, v2.RandomRotation((180, 180)))[0]["keypoints"]
    both = dataset(folder, v2.RandomHorizontalFlip(1.0), v2.RandomVerticalFlip(1.0))[0]["keypoints"]
    assert turned[..., 2].tolist() == both[..., 2].tolist() == [[2, 1, 2]]
    torch.testing.assert_close(turned, both, atol=1.01, rtol=0)  # torchvision turns about W / 2, not (W - 1) / 2
    smaller = dataset(folder, v2.Resize((15, 20)))[0]["keypoints"]
    torch.testing.assert_close(smaller, torch.tensor([table(POINTS)]) * torch.tensor([0.5, 0.5, 1]))


@pytest.mark.parametrize("names", [NAMES, ["a", "b", "c"]], ids=str)
def test_what_deforms_parts_of_the_image_exchanges_nothing(tmp_path, names):
    """In a field of 250, torchvision's own example, one of ten triangles of one pixel is folded."""
    noise((200, 100)).convert("RGB").save(tmp_path / "a.png")
    places = [20, 50, 2, 60, 50, 2, 140, 50, 2]
    entry = annotation(1, [5, 2, 190, 90], keypoints=places, num_keypoints=3)
    image = {"id": 3, "file_name": "a.png", "width": 200, "height": 100}
    path = write(tmp_path, images=[image], annotations=[entry], categories=categories(names))
    for change in (v2.ElasticTransform(250.0), v2.RandomPerspective(0.6, 1.0)):
        torch.manual_seed(0)
        data = CocoDetection(tmp_path, path, [change], targets=["keypoints"])
        for _ in range(40):
            _, left, right = data[0]["keypoints"][0, :, 0].tolist()
            assert left < right


def test_a_marked_image_says_where_keypoints_are(folder):
    """A white pixel at each keypoint is still there after a transform."""
    image = Image.new("RGB", (WIDTH, HEIGHT))
    for x, y, _ in table(POINTS):
        image.putpixel((x, y), (255, 255, 255))
    image.save(folder / "a.png")
    for change in (v2.RandomHorizontalFlip(1.0), v2.RandomVerticalFlip(1.0), v2.CenterCrop((28, 30)), v2.Pad(5)):
        sample = dataset(folder, change)[0]
        assert all(sample["image"][0, int(y), int(x)] == 1 for x, y, _ in sample["keypoints"][0].tolist())
    noise((WIDTH, HEIGHT)).convert("RGB").save(folder / "a.png")


def test_keypoints_that_leave_the_image_are_not_labelled_any_more(folder):
    cropped = dataset(folder, v2.CenterCrop((30, 10)))[0]["keypoints"]  # from x = 15
    assert cropped.tolist() == [[[5, 4, 2], [0, 0, 0], [0, 0, 0]]]
    border = dataset(folder, v2.RandomHorizontalFlip(1.0), points=[0, 0, 2, 40, 30, 2, 39, 29, 1])[0]["keypoints"]
    assert border.tolist() == [[[39, 0, 2], [0, 29, 1], [0, 30, 2]]]


def test_the_order_of_a_mirror_can_be_given(folder):
    names = ["nose", "hand_l", "hand_r"]
    given = dataset(folder, v2.RandomHorizontalFlip(1.0), names=names, flip_indices=[0, 2, 1])
    assert given[0]["keypoints"].tolist() == [LEFT_RIGHT]
    kept = dataset(folder, v2.RandomHorizontalFlip(1.0), names=names, flip_indices=[0, 1, 2])[0]["keypoints"]
    assert kept[0, :, 1:].tolist() == [[4, 2], [10, 1], [14, 2]]
    for wrong in ([0, 1], [1, 2, 0], [0, 1, 1], [1, 2, 3], []):
        with pytest.raises(ValueError, match=r"flip_indices must pair the 3 keypoints of .*boxes.json, .* got \["):
            dataset(folder, flip_indices=wrong)


@pytest.mark.parametrize(
    "names", [["a", "b", "c"], ["nose", "left_hand", "hand"], ["nose", "hand_l", "hand_r"]], ids=str
)
def test_a_mirror_is_refused_where_left_and_right_are_not_known(folder, names):
    message = rf"the transforms mirror the image, but the names of the keypoints {re.escape(str(names))} do not pair"
    for change in (v2.RandomHorizontalFlip(1.0), v2.RandomVerticalFlip(1.0)):
        with pytest.raises(ValueError, match=message):
            dataset(folder, change, names=names)[0]
    assert dataset(folder, v2.RandomRotation((10, 10)), names=names)[0]["keypoints"].shape == (1, 3, 3)


@pytest.mark.parametrize("pair", ["L_ear R_ear", "ear_l ear_r", "LEar REar", "Left_ear Right_ear", "l r"])
def test_a_mirror_is_refused_where_names_say_the_side_in_two_ways(pair):
    """It would exchange the eyes, and not the ears."""
    names = ["left_eye", "right_eye", *pair.split()]
    entry = {"id": 1, "name": "face", "keypoints": names}
    assert read_skeleton(Path("boxes.json"), [entry]).flip_indices == ()
    for other in (["chin", "palm"], ["left_ear", "right_ear"], ["tail", "collar"]):
        entry["keypoints"] = ["left_eye", "right_eye", *other]
        assert read_skeleton(Path("boxes.json"), [entry]).flip_indices[:2] == (1, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (v2.Compose([v2.Pad((0, 0, 40, 30)), v2.CenterCrop((2, 2)), v2.ClampKeyPoints()]), "move different keypoints"),
        (lambda sample: sample | {"keypoints": sample["keypoints"][:, :2]}, "return keypoints of the size"),
        (lambda sample: sample | {"keypoints": sample["keypoints"][:0]}, "return 1 boxes, but 0 keypoints"),
        (lambda sample: {key: value for key, value in sample.items() if key != "visibility"}, "but no visibility"),
    ],
)
def test_transforms_that_lose_keypoints_are_refused(folder, change, message):
    with pytest.raises(ValueError, match=f"the transforms .*{message}"):
        dataset(folder, change, points=[39, 29, 2] * 3)[0]


WRONG = [
    (None, {}, "has no keypoints, but they must be a list of 9 numbers: x, y and visibility of each of 3 keypoints"),
    ("nose", {}, "has the keypoints 'nose', but they must be a list of 9 numbers"),
    ([*POINTS[:8], "2"], {}, "has the keypoints [20, 4, 2, 12, 10, 1, ...], but they must be a list of 9 numbers"),
    (POINTS[:6], {}, "has keypoints of 6 numbers, but they must be a list of 9 numbers"),
    ([], {}, "has keypoints of 0 numbers, but they must be a list of 9 numbers"),
    ([20, 4, 3, *POINTS[3:]], {}, "has the visibility 3 of 'nose' in keypoints, but it must be 0, 1 or 2"),
    ([20, 4, 0.5, *POINTS[3:]], {}, "has the visibility 0.5 of 'nose' in keypoints, but it must be 0, 1 or 2"),
    ([20, 4, -1, *POINTS[3:]], {}, "has the visibility -1 of 'nose' in keypoints, but it must be 0, 1 or 2"),
    ([*POINTS[:3], 41, 10, 1, *POINTS[6:]], {}, "has 'left_hand' in keypoints at 41, 10, but a labelled keypoint must"),
    ([*POINTS[:3], 4, -0.5, 1, *POINTS[6:]], {}, "has 'left_hand' in keypoints at 4, -0.5, but a labelled keypoint"),
    ([*POINTS[:3], float("nan"), 1, 1, *POINTS[6:]], {}, "has 'left_hand' in keypoints at nan, 1, but a labelled"),
    (POINTS, {"num_keypoints": 2}, "has the num_keypoints 2, but it must be 3, the number of its keypoints with a vis"),
    (POINTS, {"num_keypoints": "3"}, "has the num_keypoints '3', but it must be 3"),
]


@pytest.mark.parametrize(("points", "changes", "message"), WRONG, ids=range(len(WRONG)))
def test_keypoints_that_are_not_coco_s_are_named(folder, points, changes, message):
    entry = annotation(4, [5, 2, 30, 20], keypoints=points, **changes)
    if points is None:
        del entry["keypoints"]
    path = write(folder, annotations=[entry], categories=categories())
    with pytest.raises(ValueError, match=r"boxes.json: annotation 4 " + re.escape(message)) as caught:
        CocoDetection(folder, path, targets=["keypoints"])
    assert str(caught.value).isprintable()
    assert len(CocoDetection(folder, path)[0]["boxes"]) == 1  # boxes do without


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    VALUES | st.lists(VALUES, max_size=9) | st.lists(st.integers(-1, 41) | st.floats(-1, 41), min_size=9, max_size=9)
)
def test_any_value_is_read_or_refused_in_one_line(folder, points):
    path = write(folder, annotations=[annotation(4, [5, 2, 30, 20], keypoints=points)], categories=categories())
    try:
        found = CocoDetection(folder, path, [v2.RandomHorizontalFlip(1.0)], targets=["keypoints"])[0]["keypoints"]
    except ValueError as error:
        message = str(error)
        assert message.isprintable(), message
        assert "boxes.json: annotation 4 has " in message
    else:
        assert ((found >= 0) & (found <= torch.tensor([WIDTH, HEIGHT, 2]))).all()


NO_NAMES = "but they must be a list of different names"
CATEGORIES = [
    ([{"id": 7, "name": "cat"}], f"category 7 ('cat') has no keypoints, {NO_NAMES}"),
    ([], "has no categories, but at least one must name its keypoints"),
    (categories(names=[]), f"category 9 ('cup') has the keypoints [], {NO_NAMES}"),
    (categories(names="nose"), f"category 9 ('cup') has the keypoints 'nose', {NO_NAMES}"),
    (categories(names=["a", 1]), f"category 9 ('cup') has the keypoints ['a', 1], {NO_NAMES}"),
    (categories(names=["a", "a"]), f"category 9 ('cup') has the keypoints ['a', 'a'], {NO_NAMES}"),
    (categories(names=["a\x1b[2J"]), f"category 9 ('cup') has the keypoints ['a\\x1b[2J'], {NO_NAMES} without control"),
    (categories(skeleton=[[1, 4]]), "category 9 ('cup') has the skeleton [[1, 4]], but it must be a list of pairs of "
                                    "numbers from 1 to 3"),
    (categories(skeleton=[[0, 1]]), "category 9 ('cup') has the skeleton [[0, 1]], but it must be"),
    (categories(skeleton={"1": 2}), "category 9 ('cup') has the skeleton {'1': 2}, but it must be"),
    ([categories()[0], *categories(names=["x"], skeleton=[])[1:]], "category 7 ('cat') has the keypoints ['x'], but "
                                                                   "they must be those of the first category, ['nose'"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "message"), CATEGORIES, ids=range(len(CATEGORIES)))
def test_categories_without_keypoints_are_named(folder, wrong, message):
    path = write(folder, annotations=[annotation(4, [5, 2, 30, 20], keypoints=POINTS)], categories=wrong)
    with pytest.raises(ValueError, match=r"boxes.json.* ?" + re.escape(message)):
        CocoDetection(folder, path, targets=["keypoints"])


def test_splits_with_other_keypoints_are_refused(folder):
    for name, names in (("train", NAMES), ("val", ["nose", "left_ear", "right_ear"])):
        entries = [annotation(4, [5, 2, 30, 20], keypoints=POINTS)]
        write(folder, annotations=entries, categories=categories(names)).rename(folder / f"{name}.json")
    data = CocoDetectionDataModule(str(folder), "train.json", "val.json", targets=["keypoints"])
    assert data.sample_keys >= {"boxes", "keypoints"}
    with pytest.raises(
        ValueError, match=r"train.json and .*val.json must have the same keypoints, got \['nose', 'left"
    ):
        data.dataset("train")


def test_a_skeleton_is_described_in_a_checkpoint():
    skeleton = Skeleton(("a", "b"), ((0, 1),), (1, 0))
    assert described_skeleton(skeleton.describe()) == skeleton._replace(flip_indices=())
    assert described_skeleton(None) == Skeleton()
    for wrong in ([], {"names": ["a"]}, {"names": [1], "bones": []}, {"names": ["a"], "bones": [[0, 1]]},
        {"names": ["a", "a"], "bones": []}, {"names": ["a\x1b"], "bones": []}):  # fmt: skip
        with pytest.raises(ValueError, match=r"the (skeleton|bones) of the checkpoint must"):
            described_skeleton(wrong)
