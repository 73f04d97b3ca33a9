"""Callback that logs which options differ from those in the loaded checkpoint, and refuses another optimiser class."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info

from lightning_coordconv.core.checkpoints import CheckpointError


class Change(NamedTuple):
    """An option of the model whose value is not that of the checkpoint."""

    name: str
    saved: Any
    given: Any

    @property
    def of_optimiser(self) -> bool:
        """Whether it is an option of an optimiser or a schedule, which only training uses."""
        name = self.name.split(".")[1]
        return any(word in name for word in ("optimizer", "lr_scheduler", "learning_rate"))

    def __str__(self) -> str:
        return f"{self.name} is {_shown(self.given)}, and was {_shown(self.saved)}"


class ChangedOptions(Callback):
    """Says which options of the model differ from those of the checkpoint that is loaded.

    Weights fit networks that compute something else with them, such as one with another padding. In a fit, the state of
    the optimiser and of its schedule, learning rates included, is that of the checkpoint: changed options of theirs
    have no effect. An evaluation has no optimiser.

    Raises:
        CheckpointError: in a fit, if an optimiser or schedule is of another class, which cannot continue the state, or
            if there is a schedule in only one of them.
    """

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Compare the options."""
        changes = list(_changes(checkpoint.get("hyper_parameters", {}), pl_module.hparams, "model"))
        if trainer.state.fn != TrainerFn.FITTING:
            changes = [change for change in changes if not change.of_optimiser]
        for change in changes:
            added = isinstance(change.saved, Mapping) is not isinstance(change.given, Mapping)
            if change.of_optimiser and (added or change.name.endswith("class_path")):
                raise CheckpointError(f"the run cannot continue the optimiser of its checkpoint: {change}")
        if changes:
            rank_zero_info(f"options that differ from those of the checkpoint: {'; '.join(map(str, changes))}")
        if any(change.of_optimiser for change in changes):
            rank_zero_info("the optimiser has the state of the checkpoint: changed options of it have no effect")


def _changes(saved: Any, given: Any, name: str) -> Iterator[Change]:
    """Yield the options that both have, by their dotted names, whose values differ."""
    if isinstance(saved, Mapping) and isinstance(given, Mapping):
        for key in sorted(saved.keys() & given.keys()):
            yield from _changes(saved[key], given[key], f"{name}.{key}")
    elif saved != given:
        yield Change(name, saved, given)


def _shown(value: Any) -> Any:
    """Return a value, of a class with its arguments only the name of the class."""
    return value.get("class_path", value) if isinstance(value, Mapping) else value
