"""Functions for tests that write photographs with label masks, or one mask, and build the data set of a folder."""

from pathlib import Path

import numpy as np
from PIL import Image

from lightning_coordconv.segmentation import MaskFolder
from tests.photographs import write_photographs

VALUES = np.arange(120).reshape(10, 12) % 3
"""Classes of a mask (10, 12)."""
SIZES = {"china.png": (96, 128), "flower.png": (96, 128), "hopper.png": (128, 96)}


def write_masks(folder: Path, copies: int = 2) -> Path:
    """Write ``images/`` and ``masks/`` into a folder, and return it; the class of a pixel is the side it is on."""
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    (folder / "boxes").mkdir()
    photographs = write_photographs(folder / "boxes")
    for number in range(copies):
        for name, (height, width) in SIZES.items():
            image = Image.open(photographs / name.replace(".png", ".jpg")).resize((width, height))
            image.save(folder / "images" / f"{number}_{name}")
            mask = np.ones((height, width), dtype=np.uint8)
            mask[:, width // 2 :] = 2
            mask[: height // 8] = 0
            Image.fromarray(mask).save(folder / "masks" / f"{number}_{name}")
    return folder


def save(pair, mask, name="a.png", **options):
    """Write a mask, an array or an image, into the folder of masks."""
    image = mask if isinstance(mask, Image.Image) else Image.fromarray(mask)
    image.save(pair / "masks" / name, **options)


def dataset(pair, **options):
    """Return the data set of the folders of images and masks, with three classes."""
    return MaskFolder(pair / "images", pair / "masks", 3, **options)
