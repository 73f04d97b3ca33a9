"""Tests that tiles and mixed batches equal whole images at every total stride, or that the stride is refused."""

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning import Trainer
from torch import nn

from lightning_coordconv import AddCoords, CoordConv2d
from lightning_coordconv.segmentation import MaskFolderDataModule, SemanticSegmentation, predict_tiles

STRIDES = range(1, 17)
POWERS = (1, 2, 4, 8, 16)


def halves(stride):
    """Return a network of patches whose class 1 is the right half of the image, exactly."""
    head = CoordConv2d(4, 2, 1, bias=False)
    with torch.no_grad():
        head.weight.zero_()
        head.coord_weight.zero_()
        head.coord_weight[1, 1] = 1
    return nn.Sequential(nn.Conv2d(3, 4, stride, stride=stride), head, nn.Upsample(scale_factor=stride)).eval()


def right_half(height, width):
    return (torch.arange(width) >= width // 2).expand(height, width)


def batch(stride):
    """Return four images of several sizes in one canvas."""
    sizes = [(8 * stride, cells * stride) for cells in (28, 16, 20, 24)]
    mask = torch.full((4, 8 * stride, 28 * stride), 255)
    for row, size in zip(mask, sizes, strict=True):
        row[: size[0], : size[1]] = right_half(*size)
    image = torch.rand(4, 3, *mask.shape[1:])
    return {"image": image, "mask": mask, "origin": [(0, 0)] * 4, "size": sizes, "path": list("abcd")}


@pytest.mark.parametrize("stride", STRIDES)
def test_tiles_equal_the_whole_or_are_refused(stride):
    network, image = halves(stride), torch.rand(3, 8 * stride, 48 * stride)
    with torch.no_grad():
        tiled = predict_tiles(network, image, 16 * stride, 2 * stride, strides=[stride])
        assert torch.equal(tiled, right_half(*image.shape[1:]).to(torch.uint8))
        if stride in POWERS:
            assert torch.equal(predict_tiles(network, image, 16 * stride, 2 * stride), tiled)
            return
        with pytest.raises(ValueError, match=f"0 of Sequential has the stride {stride}, which is no power of two"):
            predict_tiles(network, image, 1024, 128)


@pytest.mark.parametrize("stride", STRIDES)
def test_a_mixed_batch_equals_its_images_or_is_refused(stride):
    given = batch(stride)
    outputs = SemanticSegmentation(halves(stride), 2, strides=[stride]).eval().evaluate(given)
    counted = given["mask"] != 255
    assert torch.equal(outputs["preds"][counted], given["mask"][counted])
    unnamed = SemanticSegmentation(halves(stride), 2).eval()
    if stride in POWERS:
        assert torch.equal(unnamed.evaluate(given)["preds"][counted], given["mask"][counted])
        return
    with pytest.raises(ValueError, match=f"has the stride {stride}, which is no power of two"):
        unnamed.setup("fit")


@pytest.mark.parametrize("samples", [1, 4])
def test_a_run_takes_the_strides_of_the_task_and_refuses_those_that_are_not_named(tmp_path, samples):
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (tmp_path / split / kind).mkdir(parents=True)
        for name, width in zip("abcd", (84, 48, 60, 72), strict=True):
            mask = right_half(24, width).numpy().astype(np.uint8)
            Image.fromarray(mask).save(tmp_path / split / "masks" / f"{name}.png")
            Image.fromarray(np.repeat(mask[..., None], 3, 2)).save(tmp_path / split / "images" / f"{name}.png")
    data = MaskFolderDataModule(str(tmp_path), 2, batch_size=1, eval_batch_size=samples, num_workers=0)
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    with pytest.raises(ValueError, match=r"stride 6, .*--model.strides \[1,6\]"):
        trainer.validate(SemanticSegmentation(halves(6), 2), data, verbose=False)
    (result,) = trainer.validate(SemanticSegmentation(halves(6), 2, strides=[6]), data, verbose=False)
    assert result["val/miou"] == 1


@pytest.mark.parametrize("last", [nn.Conv2d(3, 2, 1), nn.Sequential(AddCoords(), nn.Conv2d(5, 2, 1))])
def test_only_networks_that_see_coordinates_need_strides(last):
    network = nn.Sequential(nn.Conv2d(3, 3, 3, stride=3), last, nn.Upsample(scale_factor=3))
    if isinstance(last, nn.Conv2d):
        assert predict_tiles(network, torch.rand(3, 48, 48), 24, 6).shape == (48, 48)
        return
    with pytest.raises(ValueError, match="the stride 3"):
        predict_tiles(network, torch.rand(3, 48, 48), 24, 6)
