"""Callback that logs which options of model and data differ from a checkpoint's, and refuses another optimiser."""

from collections.abc import Mapping
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info

from lightning_coordconv.core.checkpoints import CheckpointError
from lightning_coordconv.core.option_changes import find_changes, to_text


class ChangedOptions(Callback):
    """Says which options of the model, and in a fit of the data, differ from those of the checkpoint that is loaded.

    Weights fit networks that compute something else with them, such as one with another padding. In a fit, the state of
    the optimiser and of its schedule, learning rates included, is that of the checkpoint: changed options of theirs
    have no effect. An evaluation has no optimiser. A fit with other data goes on, but its best checkpoint so far was
    chosen by the data before.

    Args:
        data: the arguments of the data, which the callback's state keeps.

    Raises:
        CheckpointError: in a fit, if an optimiser or schedule is of another class, which cannot continue the state, or
            if there is a schedule in only one of them.
    """

    def __init__(self, data: Mapping[str, Any] | None = None) -> None:
        self.data = dict(data or {})

    def state_dict(self) -> dict[str, Any]:
        """Return the arguments of the data."""
        return {"data": self.data}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Compare the options."""
        changes = list(find_changes(checkpoint.get("hyper_parameters", {}), pl_module.hparams))
        if trainer.state.fn != TrainerFn.FITTING:
            changes = [change for change in changes if not change.of_optimiser]
        else:
            saved = checkpoint.get("callbacks", {}).get(self.state_key, {})
            changes += find_changes(saved.get("data", {}), self.data, "data")
        for change in changes:
            added = isinstance(change.saved, Mapping) is not isinstance(change.given, Mapping)
            if change.of_optimiser and (added or change.name.endswith("class_path")):
                raise CheckpointError(f"the run cannot continue the optimiser of its checkpoint: {change}")
        if changes:
            rank_zero_info(to_text(changes))
        if any(change.of_optimiser for change in changes):
            rank_zero_info("the optimiser has the state of the checkpoint: changed options of it have no effect")
