"""Callback that writes predicted label masks as PNG files, and the function that writes one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BasePredictionWriter
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

from lightning_coordconv.core.counts import count
from lightning_coordconv.core.predictions import WritesPredictions
from lightning_coordconv.core.ranks import gathered
from lightning_coordconv.segmentation.drawing import distinct_colours

HIGHEST = 2**16 - 1
"""Largest value of a mask of 16 bits."""


class MaskWriter(WritesPredictions, BasePredictionWriter):
    """Write predicted masks as indexed PNG files, ``masks/<name>.png`` beside the logs, in distinct colours.

    The masks of images in sub-folders are in the same sub-folders.
    """

    outputs = ("masks",)

    def __init__(self) -> None:
        super().__init__(write_interval="batch")
        self.written: dict[Path, str] = {}
        """The image of each file."""

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find out where to write."""
        super().on_predict_start(trainer, pl_module)
        self.written = {}

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Sequence[Tensor],
        batch_indices: Sequence[int] | None,
        batch: Mapping[str, Any],
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the masks of a batch.

        Raises:
            ValueError: if masks of two images would be one file.
        """
        names = batch["name"] if "name" in batch else [Path(path).stem for path in batch["path"]]
        for mask, name, image in zip(prediction, names, batch.get("path", names), strict=True):
            target = self.folder / "masks" / f"{name}.png"
            if self.written.setdefault(target, image) != image:
                raise ValueError(
                    f"the masks of {self.written[target]} and {image} would both be {target}: give each sample a "
                    "different 'name'"
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            save_mask(mask, target)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say where they are, and how many all ranks wrote."""
        written = sum(gathered(len(self.written)))
        rank_zero_info(f"Wrote {count(written, 'mask')} to {self.folder / 'masks'}")


def save_mask(mask: Tensor, path: Path) -> None:
    """Write a mask (H, W) as an indexed PNG in distinct colours if it is uint8, else as a grey image of 16 bits.

    Raises:
        ValueError: if the name does not end in .png, or there is a class beyond 65,535, the highest value of 16 bits.
    """
    if path.suffix.lower() != ".png":
        raise ValueError("a mask is a .png file: other formats can change its values, which are classes")
    highest = int(mask.max())
    if highest > HIGHEST:
        raise ValueError(f"a mask file has 16 bits, so its classes must be from 0 to {HIGHEST}, got {highest}")
    if mask.dtype == torch.uint8:
        indexed = Image.fromarray(mask.numpy())
        indexed.putpalette(distinct_colours(256).tobytes())
        indexed.save(path)
    else:
        Image.fromarray(mask.numpy().astype(np.uint16)).save(path)
