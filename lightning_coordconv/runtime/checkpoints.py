"""Checkpoints are whole or absent, and are looked at before a run is started from them."""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning import LightningModule

KEYWORDS = ("best", "last", "hpc", "registry")
"""What Lightning resolves by itself in place of a path."""


class DamagedCheckpointError(ValueError):
    """A checkpoint is not what was written."""


class DurableCheckpointIO(TorchCheckpointIO):
    """Lightning's way with checkpoints, made proof against faults on local disks.

    A checkpoint is written beside its place, flushed to the disk and then moved: whatever ends the process, a file with
    a checkpoint's name is a whole checkpoint, and an earlier one of that name stays until then. What is loaded is
    checked first. Paths with a protocol (``s3://...``) are left to Lightning.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write a checkpoint.

        Args:
            checkpoint: what to save.
            path: where to.
            storage_options: not supported, as in Lightning.

        Raises:
            OSError: if it could not be written, for want of space, say; nothing is left of it, all else is as it was.
        """
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        try:
            with part.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except (OSError, RuntimeError) as error:  # torch's writer hides the system's error behind one of its own
            part.unlink(missing_ok=True)
            raise OSError(f"could not write {path}, earlier checkpoints are untouched: {error}") from error

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Check a local checkpoint and load it as Lightning does.

        Raises:
            DamagedCheckpointError: if the file is damaged.
        """
        if "://" not in str(path):
            verify(path)
        return super().load_checkpoint(path, *args, **kwargs)


def verify(path: str | Path) -> None:
    """See that every byte of a checkpoint is as it was written; ``torch.load`` does not look at its check sums.

    Args:
        path: a local file.

    Raises:
        FileNotFoundError: if there is no such file.
        DamagedCheckpointError: if it is truncated or changed, or nothing that ``torch.save`` wrote.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no checkpoint at {path}: give a file, or one of {KEYWORDS}")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except zipfile.BadZipFile as error:
        raise DamagedCheckpointError(f"{path} is damaged, or no checkpoint: {error}") from error
    if damaged is not None:
        raise DamagedCheckpointError(f"{path} is damaged: its record {damaged} is not what was written")


def load_checkpoint(path: str | Path | None, module: LightningModule) -> None:
    """See that a checkpoint can be loaded safely and that its weights fit a module.

    Args:
        path: the file, one of Lightning's :data:`KEYWORDS`, or None; only a file is looked at.
        module: what is going to be restored; its weights become those of the checkpoint.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, no checkpoint that ``torch.load(weights_only=True)`` accepts, or its weights
            belong to another architecture.
    """
    if path is None or str(path).startswith(KEYWORDS):
        return
    verify(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        state_dict = checkpoint["state_dict"]
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0]
        raise ValueError(f"{path} is no checkpoint of weights and plain numbers alone: {reason}") from error
    try:
        module.on_load_checkpoint(checkpoint)
        module.load_state_dict(state_dict)
    except RuntimeError as error:
        differences = [line.strip() for line in str(error).splitlines()[1:]]
        raise ValueError(f"{path} holds weights of another architecture: {differences[0]}") from error
