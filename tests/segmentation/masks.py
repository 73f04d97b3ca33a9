"""Function for tests that writes real photographs with label masks that are drawn from their boxes."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.photographs import write_photographs

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
