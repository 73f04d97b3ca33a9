"""Tests of users' transforms of images and masks: equal changes, filled areas, seeds, training samples only, errors."""

import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from lightning_coordconv.segmentation import MaskFolderDataModule
from lightning_coordconv.segmentation.transforms import ImageAndMask
from tests.segmentation.masks import write_masks
from tests.slow import slow_except

CORNERS = torch.arange(48).view(6, 8) % 3


def apply(*changes, mask=CORNERS, ignore_index=255):
    """Apply transforms to an image whose red is the label, so that image and mask can be compared."""
    picture = Image.merge("RGB", [Image.fromarray((mask * 50 + 50).to(torch.uint8).numpy())] * 3)
    return ImageAndMask(changes, ignore_index)(picture, mask)


@pytest.mark.parametrize(
    "change",
    [
        v2.RandomHorizontalFlip(1),
        v2.RandomVerticalFlip(1),
        v2.RandomAffine(0, translate=(0.4, 0.4)),
        v2.RandomRotation((90, 90), expand=True),
        v2.Pad(2),
        v2.CenterCrop((4, 4)),
        v2.RandomCrop((4, 4)),
        v2.Resize((12, 16), interpolation=v2.InterpolationMode.NEAREST),
        v2.ScaleJitter((12, 16), interpolation=v2.InterpolationMode.NEAREST),
        v2.RandomPerspective(p=1, interpolation=v2.InterpolationMode.NEAREST),
        v2.RandomAffine(30, shear=20, fill=200),
        v2.Compose([v2.RandomZoomOut(p=1), v2.RandomHorizontalFlip(1)]),
        v2.ColorJitter(),
        v2.RandomGrayscale(),
    ],
    ids=lambda change: type(change).__name__,
)
def test_image_and_mask_change_alike(change):
    torch.manual_seed(0)
    picture, mask = apply(change)
    if isinstance(change, v2.ColorJitter):
        assert torch.equal(mask, CORNERS)
        return
    inside = mask != 255
    assert inside.any()
    assert set(mask.unique().tolist()) <= {0, 1, 2, 255}
    torch.testing.assert_close((picture[0] * 255)[inside], (mask * 50 + 50)[inside].float())


@pytest.mark.parametrize(
    "fill", [0, 1, 2, 255, {tv_tensors.Mask: 1, "others": 0}], ids=["default", "class", "another", "255", "of masks"]
)
@pytest.mark.parametrize("ignore_index", [255, 3, -1])
def test_what_comes_in_from_outside_has_no_class(fill, ignore_index):
    """Whatever a transform fills with, and where the filling is the number of a class."""
    _, padded = apply(v2.Pad(2, fill=fill), mask=torch.ones(6, 8, dtype=torch.long), ignore_index=ignore_index)
    expected = torch.full((10, 12), ignore_index)
    expected[2:8, 2:10] = 1
    assert torch.equal(padded, expected)


class OnMasks(v2.Transform):
    """Applies a function to masks."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def transform(self, inpt, params):
        return tv_tensors.wrap(self.function(inpt), like=inpt) if isinstance(inpt, tv_tensors.Mask) else inpt


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (OnMasks(lambda mask: mask + 1), "change labels of the mask"),
        (OnMasks(lambda mask: torch.where(mask == 1, 2, mask)), "change labels of the mask"),
        (lambda sample: {**sample, "mask": (sample["mask"] + 1) % 3}, "change labels of the mask"),
        (OnMasks(lambda mask: torch.zeros_like(mask)), "no pixel of a class"),
        (OnMasks(lambda mask: mask.float()), "dtype torch.float32, but its labels must stay torch.int64"),
        (v2.ToDtype({tv_tensors.Mask: torch.uint8, "others": None}), "dtype torch.uint8"),
        (
            lambda sample: {**sample, "image": v2.functional.resize(sample["image"], [3, 4])},
            r"size \(3, 4\) with a mask",
        ),
        (v2.Grayscale(), r"an image \(3, H, W\), but returned one of shape \(1, 6, 8\)"),
        (v2.Compose([v2.ToDtype(torch.float32), v2.Normalize([9], [1])]), "values from .* leave out the normalisation"),
        (lambda sample: sample["image"], "must return a dict with the tensors image, mask, labelled"),
    ],
)
def test_what_transforms_may_not_do_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        apply(change)


def test_pixels_without_a_class_stay_so():
    mask = CORNERS.clone()
    mask[:2] = 255
    _, flipped = apply(v2.RandomVerticalFlip(1), mask=mask)
    assert torch.equal(flipped, mask.flip(0))


@pytest.mark.parametrize("workers", slow_except([0], [0, 2]))
def test_the_seed_fixes_what_is_drawn(tmp_path, workers):
    folder = write_masks(tmp_path)
    changes: list[nn.Module] = [v2.RandomAffine(20), v2.RandomHorizontalFlip(), v2.ColorJitter(0.3)]
    epochs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        data = MaskFolderDataModule(
            str(folder), 3, crop=(64, 64), train_transforms=changes, num_workers=workers, seed=seed
        )
        epochs.append([(batch["image"], batch["mask"]) for batch in data.train_dataloader()])
    first, again, other = epochs
    for (image, mask), (image_again, mask_again) in zip(first, again, strict=True):
        assert torch.equal(image, image_again)
        assert torch.equal(mask, mask_again)
    assert not torch.equal(first[0][0], other[0][0])


def test_only_training_samples_are_transformed(tmp_path):
    folder = write_masks(tmp_path)
    data = MaskFolderDataModule(str(folder), 3, train_transforms=[v2.RandomRotation((90, 90), expand=True)])
    plain = MaskFolderDataModule(str(folder), 3)
    for split, turned in (("train", True), ("val", False), ("test", False), ("predict", False)):
        changed, same = data.dataset(split)[0], plain.dataset(split)[0]
        assert changed["size"] == (same["size"][::-1] if turned else same["size"])
        if split == "predict":  # whose pixels stay in the files
            continue
        assert torch.equal(changed["mask"], same["mask"].rot90() if turned else same["mask"])
        assert changed["image"].shape[1:] == changed["mask"].shape
