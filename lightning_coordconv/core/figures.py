"""What callbacks that draw share: results of all ranks, and pictures in files and in TensorBoard."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from matplotlib.figure import Figure
from PIL import Image
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor
from torchvision.utils import make_grid

Part = TypeVar("Part")
SIDE = 600
"""Grids and animations are enlarged, pixel by pixel, up to about this many."""


def gathered(trainer: Trainer, part: Part) -> list[Part]:
    """Return what each rank has, on every rank."""
    parts = [part] * trainer.world_size
    if trainer.world_size > 1:
        torch.distributed.all_gather_object(parts, part)
    return parts


def log_folder(trainer: Trainer) -> Path | None:
    """Return where the first rank is to write; None on other ranks, and where there are no logs. All ranks must ask."""
    log_dir = trainer.log_dir  # of the first rank, which tells the others
    return Path(log_dir) if trainer.is_global_zero and log_dir is not None else None


def save_pictures(trainer: Trainer, folder: Path, stage: str, pictures: Mapping[str, Figure | Tensor]) -> None:
    """Write pictures to ``figures/<name>.png`` and, as ``<stage>/<name>``, to TensorBoard.

    Args:
        trainer: whose loggers and step to use.
        folder: see :func:`log_folder`.
        stage: ``"val"`` or ``"test"``.
        pictures: figures, or images (3, H, W) of uint8, by name.
    """
    for name, picture in pictures.items():
        path = folder / "figures" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(picture, Figure):
            picture.savefig(path, dpi=120)
        else:
            to_image(picture).save(path)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                add = logger.experiment.add_figure if isinstance(picture, Figure) else logger.experiment.add_image
                add(f"{stage}/{name}", picture, trainer.global_step)


def save_gif(path: Path, frames: Sequence[Tensor]) -> None:
    """Write frames (3, H, W) of uint8 as an animation that runs to and fro for ever, ten frames a second."""
    there = [to_image(frame) for frame in frames]
    path.parent.mkdir(parents=True, exist_ok=True)
    there[0].save(path, save_all=True, append_images=there[1:] + there[-2:0:-1], duration=100, loop=0)


def grid(images: Tensor, columns: int = 8) -> Tensor:
    """Lay images (B, C, H, W) in [-1, 1] out as one, (3, H', W'), uint8."""
    laid_out = make_grid(images.float().cpu(), columns, padding=1, normalize=True, value_range=(-1, 1), pad_value=0.5)
    scale = max(1, SIDE // laid_out.shape[-1])
    return to_bytes(2 * laid_out - 1).repeat_interleave(scale, 1).repeat_interleave(scale, 2)


def to_bytes(images: Tensor) -> Tensor:
    """Turn images in [-1, 1] into uint8."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def to_image(image: Tensor) -> Image.Image:
    """Turn an image (C, H, W) of uint8, C = 1 or 3, into Pillow's."""
    return Image.fromarray(image.expand(3, -1, -1).permute(1, 2, 0).cpu().numpy())
