"""Functions that find the folder of a run, and save figures and images in it and in the run's loggers."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import MLFlowLogger, TensorBoardLogger, WandbLogger
from torch import Tensor

from lightning_coordconv.core.pictures import DPI, to_image


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

    The files of a validation have the number of optimiser steps behind their name, ``<name>_<steps>.png``, so that
    those of earlier weights are kept. TensorBoard, Weights & Biases and MLflow receive the pictures; other loggers have
    no pictures, or keep their files in the same folder, as the CSV logger does.

    Args:
        trainer: the trainer whose loggers and step number are used.
        folder: see :func:`figures_folder`.
        stage: ``"val"`` or ``"test"``.
        pictures: figures, or images (3, H, W), uint8, by name.
    """
    when = f"_{trainer.global_step:06d}" if stage == "val" else ""
    for name, picture in pictures.items():
        path = folder / "figures" / f"{name}{when}.png"
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
