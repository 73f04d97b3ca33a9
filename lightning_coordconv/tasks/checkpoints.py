"""A checkpoint is looked at before a run is started from it."""

import pickle
from pathlib import Path

import torch
from torch import nn

KEYWORDS = ("best", "last", "hpc", "registry")
"""What Lightning resolves by itself in place of a path."""


def check_checkpoint(path: str | Path | None, module: nn.Module) -> None:
    """See that a checkpoint can be loaded safely and that its weights fit a module.

    Args:
        path: the file, one of Lightning's :data:`KEYWORDS`, or None; only a file is looked at.
        module: what is going to be restored; its weights become those of the checkpoint.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no checkpoint that ``torch.load(weights_only=True)`` accepts, or its weights belong
            to another architecture.
    """
    if path is None or str(path).startswith(KEYWORDS):
        return
    if not Path(path).is_file():
        raise FileNotFoundError(f"no checkpoint at {path}: give a file, or one of {KEYWORDS}")
    try:
        state_dict = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} is damaged, or no checkpoint of weights and plain numbers alone: {reason}") from error
    try:
        module.load_state_dict(state_dict)
    except RuntimeError as error:
        differences = [line.strip() for line in str(error).splitlines()[1:]]
        raise ValueError(f"{path} holds weights of another architecture: {differences[0]}") from error
