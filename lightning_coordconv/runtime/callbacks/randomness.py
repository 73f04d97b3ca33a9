"""Callback that saves the state of the random-number generators in checkpoints, and restores it."""

import random
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
WITHOUT = (Tensor, type, ModuleType, FunctionType)
"""What has attributes, but holds no generators."""
SAVED = ("gymnasium", "stable_baselines3")
"""Packages whose generators agents save with their environments."""
MEMBERS = 100
"""Largest number of members of a list of the data that are looked at."""


class RandomState(Callback):
    """Saves the state of the global random generators in the checkpoint: torch's, its device's, NumPy's and Python's.

    Every rank restores its own state. If the number of ranks has changed, no state is restored. A line of the log names
    generators that a network or the training data keep as an attribute, which are not saved.
    """

    def __init__(self) -> None:
        self.restored: list[dict[str, Tensor]] = []

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add ``random_state`` to the checkpoint: for each generator, one row per rank."""
        gathered = {}
        for name, state in _state(pl_module.device).items():
            ranks = trainer.strategy.all_gather(state.to(pl_module.device))
            gathered[name] = ranks.reshape(trainer.world_size, -1).cpu()
        checkpoint["random_state"] = gathered

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep this rank's states until training starts."""
        states = checkpoint.get("random_state", {})
        if all(len(ranks) == trainer.world_size for ranks in states.values()):
            # copies: torch crashes on a view
            self.restored = [{name: ranks[trainer.global_rank].clone() for name, ranks in states.items()}]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore them, after everything is built that could draw a number; name the generators that are not saved."""
        if own := _own_generators(trainer, pl_module):
            rank_zero_info(
                f"The random generators {', '.join(own)} are not saved: a run that resumes draws other numbers from "
                "them. Those of torch, numpy.random and random are saved."
            )
        if self.restored:
            _restore(self.restored.pop(), pl_module.device)


def _own_generators(trainer: Trainer, task: LightningModule) -> list[str]:
    """Return the names of random generators that are attributes of modules, of the data, or of what the data hold."""
    owners: list[Any] = [*task.modules()]
    waiting = [getattr(trainer.train_dataloader, "dataset", None), getattr(trainer, "datamodule", None)]
    seen = {id(trainer)}
    while waiting:
        owner = waiting.pop()
        if id(owner) in seen or isinstance(owner, WITHOUT):
            continue
        seen.add(id(owner))
        if isinstance(owner, list | tuple):
            waiting += owner[:MEMBERS]
        elif hasattr(owner, "__dict__") and type(owner).__module__.partition(".")[0] not in SAVED:
            owners.append(owner)
            waiting += vars(owner).values()
    return [
        f"{type(owner).__name__}.{name}"
        for owner in owners
        for name, value in vars(owner).items()
        if isinstance(value, GENERATORS)
    ]


def _state(device: torch.device) -> dict[str, Tensor]:
    version, words, gauss = random.getstate()
    numpy = np.random.get_state(legacy=False)
    state = {
        "torch": torch.get_rng_state(),
        "python": torch.tensor([version, *words]),
        "python_gauss": torch.tensor([float("nan") if gauss is None else gauss], dtype=torch.float64),
        "numpy": torch.tensor([*numpy["state"]["key"].tolist(), numpy["state"]["pos"], numpy["has_gauss"]]),
        "numpy_gauss": torch.tensor([numpy["gauss"]], dtype=torch.float64),
    }
    return state | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def _restore(state: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(state["torch"])
    version, *words = state["python"].tolist()
    gauss = state["python_gauss"].item()
    random.setstate((version, tuple(words), None if gauss != gauss else gauss))
    *keys, position, has_gauss = state["numpy"].tolist()
    np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), position, has_gauss, state["numpy_gauss"].item()))
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
