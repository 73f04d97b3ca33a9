"""Lightning's CheckpointIO with atomic writes and verified reads, and a function that loads weights if they fit."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning_fabric.utilities.cloud_io import get_filesystem
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities import rank_zero_info

from lightning_coordconv.core.checkpoints import CheckpointError, MapLocation, read_archive, read_checkpoint
from lightning_coordconv.core.restore import check_kind, load_weights


class DurableCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, protected against faults of local disks and against files from strangers.

    A checkpoint is written to ``<name>.part``, flushed to the disk and renamed: whatever ends the process, a file with
    a checkpoint's name is a complete checkpoint, and the previous one of that name stays until then. A checkpoint is
    verified before it is loaded.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write a checkpoint. Paths with a protocol (``s3://...``) are written by Lightning.

        Args:
            checkpoint: what to save.
            path: where to.
            storage_options: not supported, as in Lightning.

        Raises:
            OSError: if it could not be written, for example because the disk is full. The partial file is removed,
                and earlier checkpoints are not changed.
        """
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        try:
            part.unlink(missing_ok=True)  # what a killed run left, or a link that somebody placed there
            with part.open("xb") as file:  # does not follow links
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except (OSError, RuntimeError) as error:  # torch's writer raises another error in place of the system's
            part.unlink(missing_ok=True)
            raise OSError(f"could not write {path}, earlier checkpoints are not changed: {error}") from error

    def load_checkpoint(
        self, path: str | Path, map_location: MapLocation = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Verify and read a checkpoint, wherever it is.

        Args:
            path: a file, or a URL that fsspec can open.
            map_location: where to put tensors.
            weights_only: only ``False`` accepts pickled objects, which can run code.

        Raises:
            FileNotFoundError: if there is no such file.
            CheckpointError: if the file is damaged or not a checkpoint.
        """
        trust = weights_only is False
        if trust:
            rank_zero_info(f"trusting {path}: it can run code as it is loaded")
        if "://" not in str(path):
            return read_archive(path, map_location, trust)
        with get_filesystem(path).open(str(path), "rb") as file:
            return read_archive(file, map_location, trust)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint file. Other files and folders are not removed, whoever names them."""
        if "://" in str(path):
            super().remove_checkpoint(path)
        elif Path(path).suffix == ".ckpt" and not Path(path).is_dir():
            Path(path).unlink(missing_ok=True)


def load_checkpoint(path: str | Path, module: LightningModule, weights_only: bool | None = None) -> None:
    """Verify that a checkpoint can be loaded and that its weights fit a module.

    Args:
        path: the file.
        module: its weights become those of the checkpoint.
        weights_only: only ``False`` accepts pickled objects, which can run code.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged or not a checkpoint, or belongs to another task or architecture.
    """
    checkpoint = read_checkpoint(path, trust=weights_only is False)
    try:
        check_kind(checkpoint, type(module), path)
        load_weights(module, checkpoint, path)
    except CheckpointError as error:
        config = Path(path).parent.parent / "config.yaml"
        if not config.is_file():
            raise
        raise CheckpointError(f"{error}; the options of its run are -c {config}") from error
