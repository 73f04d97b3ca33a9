"""Tests that predictions of large images read files tile by tile, without masks, in little memory."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lightning_coordconv import AddCoords, CoordConv2d
from lightning_coordconv.core.regions import ImageRegions
from lightning_coordconv.segmentation import (
    ImageFiles,
    MaskFolderDataModule,
    MaskWriter,
    SemanticSegmentation,
    predict_tiles,
)
from lightning_coordconv.segmentation.mask_folder import PREPROCESSING
from tests.classification.test_task import quiet
from tests.segmentation.masks import write_masks


def network(classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(CoordConv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, classes, 1))


@pytest.fixture
def photographs(masks: Path, tmp_path: Path) -> Path:
    """The test folder's images as PNG, JPEG and uncompressed TIFF files, without masks."""
    for split in ("train", "val"):
        shutil.copytree(masks / "images", tmp_path / "data" / split / "images")
        shutil.copytree(masks / "masks", tmp_path / "data" / split / "masks")
    folder = tmp_path / "data" / "test" / "images"
    (folder / "deep").mkdir(parents=True)
    for number, path in enumerate(sorted((masks / "images").glob("0_*"))):
        image = Image.open(path)
        image.save(folder / f"{number}.png")
        image.save(folder / "deep" / f"{number}.jpg")
        image.save(folder / f"{number}a.tif")
    return tmp_path / "data"


def whole(net: nn.Module, path: Path) -> torch.Tensor:
    """The labels of a whole image, by an independent way to read it."""
    values = np.asarray(Image.open(path).convert("RGB")).astype(np.float32) / 255
    mean, std = np.float32(PREPROCESSING.mean), np.float32(PREPROCESSING.std)
    image = torch.from_numpy((values - mean) / std).permute(2, 0, 1)
    with torch.no_grad():
        return net(image[None])[0].argmax(0)


@pytest.mark.slow
def test_predictions_read_the_files_tile_by_tile(photographs, tmp_path, monkeypatch):
    seen, read = [], ImageRegions.__getitem__

    def note(self, index):
        part = read(self, index)
        seen.append(part)
        return part

    monkeypatch.setattr(ImageRegions, "__getitem__", note)
    data = MaskFolderDataModule(str(photographs), 3, eval_batch_size=2, num_workers=0)
    task = SemanticSegmentation(network(), 3, tile=48, overlap=8)
    batches = quiet(tmp_path, callbacks=[MaskWriter()]).predict(task, data)
    found = [labels for batch in batches for labels in batch]
    paths = data.dataset("predict").images
    assert len(found) == len(paths) == 9
    assert {part.dtype for part in seen} == {torch.uint8}
    assert max(max(part.shape) for part in seen) == 48
    for labels, path in zip(found, paths, strict=True):
        assert labels.dtype == torch.uint8
        assert (labels == whole(task.net, path)).float().mean() > 0.999
        written = tmp_path / "masks" / path.relative_to(photographs / "test" / "images").with_suffix(".png")
        assert np.array_equal(np.asarray(Image.open(written)), labels.numpy())


@pytest.fixture
def damageable(tmp_path: Path) -> Path:
    """A folder that a test may change."""
    (tmp_path / "data").mkdir()
    return write_masks(tmp_path / "data")


def test_masks_are_not_read(damageable, tmp_path):
    """They may be missing, damaged or of other classes."""
    for number, path in enumerate(sorted((damageable / "masks").iterdir())):
        path.unlink() if number % 2 else path.write_text("no image")
    data = MaskFolderDataModule(str(damageable), 3, num_workers=0)
    batches = quiet(tmp_path).predict(SemanticSegmentation(network(), 3), data)
    assert len(batches) == len(data.dataset("predict")) > 0
    sample = data.dataset("predict")[0]
    assert sorted(sample) == ["name", "origin", "path", "size"]
    with Image.open(sample["path"]) as image:
        assert sample["size"] == (image.height, image.width)


def test_predicted_and_tested_images_are_the_same(masks):
    data = MaskFolderDataModule(str(masks), 3)
    assert data.dataset("predict").images == data.dataset("test").images
    assert data.dataset("predict").names == data.dataset("test").names


def test_images_whose_masks_would_have_one_name_are_refused(tmp_path):
    for suffix in (".png", ".jpg"):
        Image.new("RGB", (4, 4)).save(tmp_path / f"a{suffix}")
    with pytest.raises(ValueError, match=r"a.jpg and .*a.png have the same name up to the ending"):
        ImageFiles(tmp_path)


def test_a_damaged_image_is_named(damageable, tmp_path):
    for path in (damageable / "images").iterdir():
        path.write_bytes(path.read_bytes()[:2000])
    data = MaskFolderDataModule(str(damageable), 3, num_workers=0)
    with pytest.raises(OSError, match=r"_\w+\.png cannot be read as an image"):
        quiet(tmp_path).predict(SemanticSegmentation(network(), 3), data)


def test_tensors_of_other_data_modules_are_predicted_without_their_padding():
    task = SemanticSegmentation(network(), 3)
    image = torch.rand(3, 20, 30)
    batch = {"image": nn.functional.pad(image, (0, 10, 0, 4))[None], "size": [(20, 30)]}
    (labels,) = task.predict_step(batch, 0)
    assert torch.equal(labels, predict_tiles(task.net, image, 1024, 128))


class Seen(nn.Module):
    """Says of each pixel whether it is in the right half of the image."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        column = AddCoords()(images)[:, -1:]
        return torch.cat([-column, column], 1)


@pytest.mark.parametrize("tile", [16, 1024])
def test_crops_of_other_data_modules_are_predicted_where_they_lie(tile):
    task = SemanticSegmentation(Seen(), 2, tile=tile, overlap=4)
    origin, size = torch.tensor([[0, 8], [40, 40], [0, 0]]), torch.tensor([[64, 64], [64, 64], [30, 20]])
    labels = task.predict_step({"image": torch.zeros(3, 3, 32, 32), "origin": origin, "size": size}, 0)
    expected = (torch.arange(64) >= 32).repeat(64, 1), (torch.arange(20) >= 10).repeat(30, 1)
    assert torch.equal(labels[0], expected[0][:32, 8:40])
    assert torch.equal(labels[1], expected[0][40:, 40:])
    assert torch.equal(labels[2], expected[1])


GROWTH = """
import sys, torch
from torch import nn
from lightning_coordconv.core.regions import ImageRegions
from lightning_coordconv.segmentation import predict_tiles
from lightning_coordconv.segmentation.mask_folder import PREPROCESSING

def memory(name):  # the peak of getrusage would be that of the parent process too
    (line,) = (line for line in open("/proc/self/status") if line.startswith(name))
    return int(line.split()[1]) * 1024

def predict(path):
    return predict_tiles(nn.Identity(), ImageRegions(path), 512, 16, PREPROCESSING.scale)

with torch.inference_mode():
    predict(sys.argv[1])
    before = memory("VmRSS")
    labels = predict(sys.argv[2])
print((memory("VmHWM") - before) / labels.numel())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of the process from /proc")
def test_memory_grows_with_the_label_map_only(tmp_path):
    """Bytes a pixel of an uncompressed image: 1 for its label; the pixels would need 3, and as floats 12 or more."""
    paths = []
    for side in (1000, 4500):
        paths.append(str(tmp_path / f"{side}.ppm"))
        with open(paths[-1], "wb") as file:
            file.write(f"P6\n{side} {side}\n255\n".encode())
            file.truncate(file.tell() + 3 * side**2)  # a hole, which takes no space on the disk
    command = [sys.executable, "-c", GROWTH, *paths]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert 0.9 < float(run.stdout) < 2.5
