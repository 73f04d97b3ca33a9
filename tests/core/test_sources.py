"""Tests of the images that ``predict`` accepts: files, folders, arrays, tensors, preprocessing, and errors."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_coordconv.core.preprocessing import Preprocessing
from lightning_coordconv.core.sources import find_sources
from tests.photographs import noise

PIXELS = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)


def read(images: object, preprocessing: Preprocessing | None = None) -> list[torch.Tensor]:
    sources, _ = find_sources(images)
    return [(preprocessing or Preprocessing())(source.read()) for source in sources]


def forms(folder: Path) -> dict[str, object]:
    """Return one image in each form."""
    Image.fromarray(PIXELS).save(folder / "image.png")
    tensor = torch.from_numpy(PIXELS).permute(2, 0, 1)
    return {
        "path": folder / "image.png", "text": str(folder / "image.png"), "pillow": Image.fromarray(PIXELS),
        "array": PIXELS, "bytes": tensor, "float": tensor / 255, "double": tensor.double() / 255,
    }  # fmt: skip


@pytest.mark.parametrize("mean", [(), (0.4, 0.5, 0.6)])
def test_each_form_of_an_image_is_the_same_image(tmp_path, mean):
    preprocessing = Preprocessing(mean=mean, std=(0.2, 0.3, 0.4) if mean else ())
    expected = torch.from_numpy(PIXELS).permute(2, 0, 1) / 255
    if mean:
        expected = (expected - torch.tensor(mean)[:, None, None]) / torch.tensor([0.2, 0.3, 0.4])[:, None, None]
    for form, image in forms(tmp_path).items():
        sources, several = find_sources(image)
        assert not several, form
        torch.testing.assert_close(preprocessing(sources[0].read()), expected, msg=form)


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_colour_become_the_channels_that_the_network_has(tmp_path, channels):
    grey = PIXELS[:, :, 0]
    images = [
        grey,
        grey[:, :, None],
        torch.from_numpy(grey)[None],
        torch.from_numpy(grey)[None] / 255,
        Image.fromarray(grey),
    ]
    for image in [*images, *forms(tmp_path).values()]:
        (found,) = read(image, Preprocessing(channels=channels))
        assert found.shape == (channels, 5, 4)
    torch.testing.assert_close(read(grey, Preprocessing(1))[0][0], torch.from_numpy(grey) / 255)


def test_batches_lists_and_folders_are_several_images(tmp_path):
    (tmp_path / "below").mkdir()
    images = forms(tmp_path)
    Image.fromarray(PIXELS).save(tmp_path / "below" / "a.png")
    for given, count in [
        (tmp_path, 2), (str(tmp_path), 2), ([images["path"], tmp_path, PIXELS], 4), (PIXELS[None], 1),
        (torch.rand(3, 3, 4, 5), 3), ((PIXELS,), 1), ([torch.rand(3, 8, 9), torch.rand(1, 4, 4)], 2),
    ]:  # fmt: skip
        sources, several = find_sources(given)
        assert (len(sources), several) == (count, True)


def test_other_files_of_a_folder_are_counted_and_named(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    forms(tmp_path)
    for name in ("notes.txt", "boxes.json", ".hidden", "._image.png"):
        (tmp_path / name).write_text("x")
    assert len(read(tmp_path)) == 1
    assert f"Unused: files in {tmp_path} that are no images (2): boxes.json, notes.txt." in caplog.text


def test_resizing_and_cropping_are_those_of_torchvision_s_transforms(tmp_path):
    from torchvision.transforms import v2

    image = noise((40, 30)).convert("RGB")
    transform = v2.Compose([v2.Resize(24), v2.CenterCrop(21), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    expected = transform(image)
    assert torch.equal(Preprocessing(resize=24, crop=21)(image), expected)
    close = Preprocessing(resize=24, crop=21)(v2.functional.pil_to_tensor(image) / 255)
    torch.testing.assert_close(close, expected, rtol=0, atol=0.01)


EMPTY = torch.rand(3, 0, 4)
REFUSED = {
    "float array": (PIXELS / 255, r"the image: expected an array of uint8.*got float64 \(5, 4, 3\)"),
    "array of channels first": (PIXELS.transpose(2, 0, 1), r"got uint8 \(3, 5, 4\)"),
    "array with transparency": (np.zeros((5, 4, 4), np.uint8), r"got uint8 \(5, 4, 4\)"),
    "empty array": (PIXELS[:0], r"got uint8 \(0, 4, 3\)"),
    "tensor of channels last": (torch.from_numpy(PIXELS), r"got torch.uint8 \(5, 4, 3\)"),
    "tensor of integers": (torch.ones(3, 4, 4, dtype=torch.int64), r"got torch.int64 \(3, 4, 4\)"),
    "empty tensor": (EMPTY, r"got torch.float32 \(3, 0, 4\)"),
    "values beyond 1": (torch.ones(3, 4, 4) * 255, "in \\[0, 1\\], got values from 255 to 255"),
    "negative values": (torch.ones(3, 4, 4) * -0.5, "got values from -0.5 to -0.5"),
    "NaN": (torch.full((3, 4, 4), torch.nan), "got values from nan to nan"),
    "second of a list": ([PIXELS, PIXELS / 255], "image 1: expected an array of uint8"),
    "floating-point image": (Image.new("F", (4, 4)), "the image: it holds floating-point numbers"),
    "nothing": ([], "there is no image: the list is empty"),
}


@pytest.mark.parametrize(("image", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_image_is_named(image, message):
    with pytest.raises(ValueError, match=message):
        find_sources(image)


@pytest.mark.parametrize("image", [None, 3, {"image": PIXELS}])
def test_other_types_are_named(image):
    with pytest.raises(TypeError, match=r"the image is a .*: expected a path"):
        find_sources(image)


def test_missing_empty_and_unreadable_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file or folder .*absent.jpg"):
        find_sources(tmp_path / "absent.jpg")
    with pytest.raises(FileNotFoundError, match=r"the folder .* is empty"):
        find_sources(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(FileNotFoundError, match=r"none of the files in .* is an image .*, such as notes.txt"):
        find_sources(tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(OSError, match=r"broken.jpg cannot be read as an image"):
        read(tmp_path)


WRONG = [
    None, {"size": 3}, {"channels": 2}, {"resize": 0}, {"resize": 1.5}, {"crop": True}, {"mean": (1.0,), "std": (1.0,)},
    {"mean": (0.0,) * 3, "std": (1.0,)}, {"mean": (0.0,) * 3, "std": (0.0,) * 3}, {"mean": "abc", "std": "abc"},
    {"mean": (float("nan"),) * 3, "std": (1.0,) * 3}, {"mean": (True,) * 3, "std": (1.0,) * 3}, {"mean": 3},
]  # fmt: skip


@pytest.mark.parametrize("values", WRONG, ids=str)
def test_plain_data_that_describe_no_preprocessing_are_refused(values):
    with pytest.raises(ValueError, match=r"must be|must have"):
        Preprocessing.from_dict(values)


def test_a_preprocessing_is_plain_data():
    given = Preprocessing(1, 10, 8, (0.5,), (0.25,))
    assert Preprocessing.from_dict(given.to_dict()) == given


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_a_tensor_that_is_filled_again_is_kept_as_it_was(dtype):
    buffer = torch.ones(3, 4, 4, dtype=dtype)
    (source,), _ = find_sources(buffer)
    before = source.tensor()
    buffer.zero_()
    assert torch.equal(source.tensor(), before)


def test_images_behind_a_link_to_a_folder_are_found(tmp_path):
    for folder in ("real", "given"):
        (tmp_path / folder).mkdir()
        Image.fromarray(PIXELS).save(tmp_path / folder / "a.png")
    (tmp_path / "given" / "linked").symlink_to(tmp_path / "real")
    sources, several = find_sources(tmp_path / "given")
    assert several
    assert [source.content for source in sources] == [tmp_path / "given" / name for name in ("a.png", "linked/a.png")]
