"""Functions that draw confusion matrices, save figures for the run and its loggers, gather data, and convert images."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import MLFlowLogger, TensorBoardLogger, WandbLogger
from torch import Tensor
from torchvision.utils import make_grid

Part = TypeVar("Part")
SIDE = 600
"""Width in pixels up to which grids and animations are enlarged."""
DPI = 120
"""Pixels in an inch of a figure."""


def gathered(trainer: Trainer, part: Part) -> list[Part]:
    """Return the objects of all ranks, in the order of the ranks, on every rank. All ranks must call it."""
    parts = [part] * trainer.world_size
    if trainer.world_size > 1:
        torch.distributed.all_gather_object(parts, part)
    return parts


def log_folder(trainer: Trainer) -> Path | None:
    """Return the run's folder on the first rank, None on the others. All ranks must call it.

    It is the folder of the first logger, or the trainer's ``default_root_dir`` if no logger writes files there.
    """
    log_dir = trainer.log_dir  # broadcasts from the first rank
    return Path(log_dir or trainer.default_root_dir) if trainer.is_global_zero else None


def figures_folder(trainer: Trainer) -> Path | None:
    """Return the run's folder on the first rank, None on the others and without a logger: then nothing is drawn."""
    return log_folder(trainer) if trainer.loggers else None


def save_pictures(trainer: Trainer, folder: Path, stage: str, pictures: Mapping[str, Figure | Tensor]) -> None:
    """Write pictures to ``figures/<name>.png``, and log them as ``<stage>/<name>``.

    TensorBoard, Weights & Biases and MLflow receive the pictures; other loggers have no pictures, or keep their files
    in the same folder, as the CSV logger does.

    Args:
        trainer: the trainer whose loggers and step number are used.
        folder: see :func:`figures_folder`.
        stage: ``"val"`` or ``"test"``.
        pictures: figures, or images (3, H, W), uint8, by name.
    """
    for name, picture in pictures.items():
        path = folder / "figures" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(picture, Figure):
            picture.savefig(path, dpi=DPI)
        else:
            to_image(picture).save(path)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                add = logger.experiment.add_figure if isinstance(picture, Figure) else logger.experiment.add_image
                add(f"{stage}/{name}", picture, trainer.global_step)
            elif isinstance(logger, WandbLogger):
                logger.log_image(f"{stage}/{name}", [str(path)], trainer.global_step)
            elif isinstance(logger, MLFlowLogger):
                logger.experiment.log_artifact(logger.run_id, str(path), f"figures/{stage}")


def draw_confusion(matrix: Tensor, class_names: Sequence[str]) -> Figure:
    """Draw a confusion matrix: the share of each true class (row) that was predicted as each class (column).

    torchmetrics' plot passes tensors to matplotlib, which numpy 2 warns of, and reads names as formulas.

    Args:
        matrix: counts (C, C), true classes in rows. A class that never occurs has an empty row.
        class_names: by class; numbers if there are not C of them. Up to 30 are shown, and the shares of up to 12.
    """
    matrix = matrix.cpu()
    classes = len(matrix)
    names = list(class_names) if len(class_names) == classes else [str(number) for number in range(classes)]
    shares = (matrix / matrix.sum(1, keepdim=True).clamp(min=1)).numpy()
    side = max(4.0, min(10.0, 0.5 * classes + 2))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    shown = range(classes) if classes <= 30 else ()
    axes.set_xticks(shown, [names[number] for number in shown], rotation=45, ha="right", parse_math=False)
    axes.set_yticks(shown, [names[number] for number in shown], parse_math=False)
    if classes <= 12:
        for (row, column), share in np.ndenumerate(shares):
            colour = "white" if share > 0.5 else "black"
            axes.text(column, row, f"{share:.2f}", ha="center", va="center", color=colour, fontsize=8)
    axes.set(xlabel="predicted class", ylabel="true class", title=f"Confusion of {int(matrix.sum()):,} predictions")
    figure.colorbar(drawn, ax=axes, label="share of the true class", shrink=0.8)
    return figure


def save_gif(path: Path, frames: Sequence[Tensor]) -> None:
    """Write frames (3, H, W), uint8, as an endless animation, forwards and then backwards, ten frames a second."""
    forwards = [to_image(frame) for frame in frames]
    path.parent.mkdir(parents=True, exist_ok=True)
    forwards[0].save(path, save_all=True, append_images=forwards[1:] + forwards[-2:0:-1], duration=100, loop=0)


def grid(images: Tensor, columns: int = 8) -> Tensor:
    """Lay out images (B, C, H, W) in [-1, 1] as one image (3, H', W'), uint8, enlarged to about 600 pixels."""
    laid_out = make_grid(images.float().cpu(), columns, padding=1, normalize=True, value_range=(-1, 1), pad_value=0.5)
    scale = max(1, SIDE // laid_out.shape[-1])
    return to_bytes(2 * laid_out - 1).repeat_interleave(scale, 1).repeat_interleave(scale, 2)


def to_bytes(images: Tensor) -> Tensor:
    """Convert images in [-1, 1] to uint8."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def to_picture(figure: Figure) -> Image.Image:
    """Convert a figure to a Pillow image. Needs no display."""
    buffer = BytesIO()
    figure.savefig(buffer, dpi=DPI, format="png")
    return Image.open(buffer).convert("RGB")


def to_image(image: Tensor) -> Image.Image:
    """Convert an image (C, H, W) of uint8, with 1 or 3 channels, to a Pillow image."""
    return Image.fromarray(image.expand(3, -1, -1).permute(1, 2, 0).cpu().numpy())
