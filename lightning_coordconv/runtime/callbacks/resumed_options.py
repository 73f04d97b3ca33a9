"""Callback that reports options of a resumed run that differ from its checkpoint, and refuses another optimiser."""

from collections.abc import Mapping
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info

from lightning_coordconv.core.checkpoints import CheckpointError


class ResumedOptions(Callback):
    """Says which options of the model differ from those of the checkpoint that a fit resumes from.

    The state of the optimiser and of its schedule, learning rates included, is that of the checkpoint: changed options
    of theirs have no effect.

    Raises:
        CheckpointError: if an optimiser or schedule is of another class, which cannot continue the state.
    """

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Compare the options."""
        if trainer.state.fn != TrainerFn.FITTING:
            return
        saved, given = (dict(_flat(options)) for options in (checkpoint.get("hyper_parameters"), pl_module.hparams))
        differing = sorted(name for name in saved.keys() & given.keys() if saved[name] != given[name])
        shown = [f"model.{name} is {given[name]}, and was {saved[name]}" for name in differing]
        for name, line in zip(differing, shown, strict=True):
            if _is_of_optimiser(name) and name.endswith("class_path"):
                raise CheckpointError(f"the run cannot continue the optimiser of its checkpoint: {line}")
        if shown:
            rank_zero_info(f"options that differ from those of the checkpoint: {'; '.join(shown)}")
        if any(map(_is_of_optimiser, differing)):
            rank_zero_info("the optimiser has the state of the checkpoint: changed options of it have no effect")


def _is_of_optimiser(name: str) -> bool:
    return any(word in name.partition(".")[0] for word in ("optimizer", "lr_scheduler", "learning_rate"))


def _flat(options: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Return plain options by their dotted names."""
    if not isinstance(options, Mapping):
        return [(prefix, options)]
    inner = [(f"{prefix}.{name}" if prefix else str(name), value) for name, value in options.items()]
    return [pair for name, value in inner for pair in _flat(value, name)]
