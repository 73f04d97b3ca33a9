"""Callbacks that save generated images: a grid of samples after each validation, and predictions as files."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import BasePredictionWriter
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

from lightning_coordconv.core.figures import figures_folder, save_pictures
from lightning_coordconv.core.pictures import grid, save_gif, to_bytes, to_image
from lightning_coordconv.core.predictions import WritesPredictions


class SampleGrid(Callback):
    """Draw the samples of the task's fixed latent vectors after each validation: ``figures/samples_<steps>.png``."""

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Generate and write the grid, on the first rank only."""
        folder = figures_folder(trainer)
        if folder is None or trainer.sanity_checking:
            return
        picture = grid(pl_module.generate(pl_module.fixed_latents))
        save_pictures(trainer, folder, "val", {"samples": picture})


class GeneratedImages(WritesPredictions, BasePredictionWriter):
    """Write predictions to the log folder: single images, the first 64 as a grid, and interpolations.

    Files are ``images/<number>.png``, which each rank writes for its samples, ``grid.png`` and ``interpolation.gif``.
    """

    outputs = ("images", "grid.png", "interpolation.gif")

    def __init__(self) -> None:
        super().__init__(write_interval="epoch")

    def write_on_epoch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        predictions: Sequence[Mapping[str, Tensor]],
        batch_indices: Sequence[Any],
    ) -> None:
        """Write all files."""
        folder = self.folder
        images = [image for batch in predictions for image in batch["image"]]
        (folder / "images").mkdir(parents=True, exist_ok=True)
        for i, image in enumerate(images):
            number = i * trainer.world_size + trainer.global_rank
            to_image(to_bytes(image)).save(folder / "images" / f"{number:05d}.png")
        if trainer.is_global_zero:
            to_image(grid(torch.stack(images[:64]))).save(folder / "grid.png")
            save_gif(folder / "interpolation.gif", [grid(frame, 4) for frame in pl_module.paths().unbind(1)])
            rank_zero_info(f"Wrote images, grid.png and interpolation.gif to {folder}")
