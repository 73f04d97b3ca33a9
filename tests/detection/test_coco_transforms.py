"""Tests that transforms keep the boxes of COCO files right, and of what a transform must not return."""

import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import resize

from lightning_coordconv.detection import CocoDetection
from tests.detection.annotations import annotation, write


def test_transforms_keep_boxes_right(folder):
    boxes = [annotation(1, [10, 5, 20, 10]), annotation(2, [0, 0, 4, 4], category_id=9), annotation(3, [2, 2, 3, 3])]
    path = write(folder, annotations=boxes)
    flipped = CocoDetection(folder, path, [v2.RandomHorizontalFlip(p=1.0)])[0]
    assert flipped["boxes"].tolist() == [[10, 5, 30, 15], [36, 0, 40, 4], [35, 2, 38, 5]]
    torch.testing.assert_close(flipped["image"], CocoDetection(folder, path)[0]["image"].flip(2))
    smaller = CocoDetection(folder, path, [v2.Resize((15, 20))])[0]
    assert smaller["boxes"][0].tolist() == [5, 2.5, 15, 7.5]
    assert smaller["area"][0].item() == 25  # a quarter
    middle = CocoDetection(folder, path, [v2.CenterCrop((20, 20))])[0]  # from (10, 5): the others are cut off
    assert middle["boxes"].tolist() == [[0, 0, 20, 10]]
    assert [middle[key].tolist() for key in ("labels", "iscrowd", "area")] == [[1], [0], [100]]
    assert type(middle["boxes"]) is type(middle["image"]) is torch.Tensor
    assert middle["image"].dtype == torch.float32
    coloured = CocoDetection(folder, path, [v2.RandomPhotometricDistort(p=1.0)])[0]
    assert coloured["boxes"].tolist() == [[10, 5, 30, 15], [0, 0, 4, 4], [2, 2, 5, 5]]


def boxes_after(folder, *transforms):
    sample = CocoDetection(folder, write(folder), transforms)[0]
    assert sample["image"].shape[0] == 3
    return sample["boxes"].tolist()


def test_boxes_keep_their_meaning_in_any_format_of_the_transforms(folder):
    for name in ("XYWH", "CXCYWH"):
        assert boxes_after(folder, v2.ConvertBoundingBoxFormat(name)) == [[10, 5, 30, 15]]
        assert boxes_after(folder, v2.ConvertBoundingBoxFormat(name), v2.RandomHorizontalFlip(1.0)) == [[10, 5, 30, 15]]


def test_thin_boxes_are_objects_in_training_as_in_evaluation(folder):
    boxes = [[20, 5, 0.6, 10], [30, 5, 8, 0.9], [39.5, 5, 30, 10]]
    path = write(folder, annotations=[annotation(number, box) for number, box in enumerate(boxes, start=4)])
    plain, flipped = (CocoDetection(folder, path, steps)[0] for steps in ([], [v2.RandomHorizontalFlip(0.0)]))
    assert len(plain["boxes"]) == len(flipped["boxes"]) == len(flipped["labels"]) == 3
    assert torch.equal(plain["boxes"], flipped["boxes"])
    half = CocoDetection(folder, path, [v2.CenterCrop((30, 20))])[0]  # from x = 10 to 30
    assert half["boxes"].tolist() == [plain["boxes"][0].sub(torch.tensor([10.0, 0, 10, 0])).tolist()]


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (v2.ToDtype(torch.float32), r"values from .* to 25\d"),
        (v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.1] * 3)]), "values from -"),
        (v2.Grayscale(), r"must return an image \(3, H, W\), but returned one of shape \(1, 30, 40\)"),
        (lambda sample: None, "must return a dict with the image as a tensor"),
        (v2.ToPILImage(), "must return a dict with the image as a tensor"),
        (v2.ToPureTensor(), "must return boxes as tv_tensors.BoundingBoxes"),
        (
            lambda sample: sample | {"image": resize(sample["image"], [60, 80])},
            r"boxes of the size \(30, 40\), but the",
        ),
        (v2.SanitizeBoundingBoxes(min_size=100), "return 0 boxes, but 1 iscrowd"),
    ],
)
def test_what_a_transform_must_not_return_is_refused(folder, transform, message):
    with pytest.raises(ValueError, match=f"the transforms .*{message}"):
        CocoDetection(folder, write(folder), [transform])[0]


class ResizedImage(v2.Transform):
    def transform(self, inpt, params):
        return resize(inpt, [60, 80]) if type(inpt) is tv_tensors.Image else inpt


TURN = v2.RandomRotation((45, 45), expand=True)


@pytest.mark.parametrize(
    ("transforms", "cause"),
    [
        ([v2.RandomHorizontalFlip(), TURN, v2.RandomGrayscale()], r"since RandomRotation\(.*: .* with expand=False"),
        ([v2.Compose([TURN])], r"since Compose\( RandomRotation\(.*: .* with expand=False"),
        ([v2.RandomHorizontalFlip(), ResizedImage(), v2.RandomGrayscale()], r"since ResizedImage\(\): .* tv_tensors$"),
    ],
)
def test_the_transform_after_which_sizes_differ_is_named_with_its_cause(folder, transforms, cause):
    with pytest.raises(ValueError, match=rf"boxes of the size .*, but the image has \(\d+, \d+\), {cause}"):
        CocoDetection(folder, write(folder), transforms)[0]
