"""Callback that logs which options of a run differ from those of its checkpoint, and refuses another optimiser."""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info

from lightning_coordconv.core.checkpoints import CheckpointError
from lightning_coordconv.core.data import BaseDataModule
from lightning_coordconv.core.option_changes import Change, find_changes, to_text

PACKAGE = __name__.partition(".")[0]
TRAINER = (
    "accumulate_grad_batches", "gradient_clip_algorithm", "gradient_clip_val", "limit_train_batches", "overfit_batches",
    "precision",
)  # fmt: skip
"""Options of the trainer that change what a training step computes, or from which samples."""
TRAINING = {"model.initial_weights", "model.total_timesteps"}
"""Options of the model that only a fit uses, besides those of the optimiser."""
LOADING = {"data.batch_size", "data.eval_batch_size", "data.num_workers"}
"""Options of the data with which a validation has the same samples."""


class ChangedOptions(Callback):
    """Says which options of the model, and in a fit of data and trainer, differ from those of the loaded checkpoint.

    Weights fit networks that compute something else with them, such as one with another padding. In a fit, the state of
    the optimiser and of its schedule, learning rates included, is that of the checkpoint: changed options of theirs
    have no effect. An evaluation has no optimiser. A fit with other data goes on, and its best checkpoint so far, which
    was chosen by the data before, still counts; the callback says so.

    Args:
        data: the arguments of the data, which the callback's state keeps.

    Raises:
        CheckpointError: in a fit, if an optimiser or schedule is of another class, which cannot continue the state, or
            if there is a schedule in only one of them.
    """

    def __init__(self, data: Mapping[str, Any] | None = None) -> None:
        self.data = dict(data or {})
        self.trainer: dict[str, str] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Note the options of the trainer, as text."""
        values = {name: getattr(trainer, name) for name in TRAINER}
        self.trainer = {name: str(value.value if isinstance(value, Enum) else value) for name, value in values.items()}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Refuse a batch beyond the end of an epoch, which Lightning would train.

        A checkpoint of a validation at the end of an epoch continues with the end of that epoch, but only if the
        validation is due also in the run that resumes.

        Raises:
            CheckpointError: if it is not, because the interval between validations is another one.
        """
        if batch_idx >= trainer.num_training_batches:
            name = "check_val_every_n_epoch" if trainer.check_val_every_n_epoch else "val_check_interval"
            raise CheckpointError(
                f"the checkpoint is of a validation after {trainer.current_epoch + 1} epochs, which is not due with "
                f"trainer.{name} {getattr(trainer, name)}: resume with the value of the run before, or another by "
                "which it is due"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the arguments of the data and the options of the trainer."""
        return {"data": self.data, "trainer": self.trainer}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Compare the options."""
        changes = list(find_changes(checkpoint.get("hyper_parameters", {}), pl_module.hparams))
        saved = checkpoint.get("callbacks", {}).get(self.state_key, {})
        if trainer.state.fn != TrainerFn.FITTING:
            changes = [change for change in changes if not (change.of_optimiser or change.name in TRAINING)]
            changes += self._other_seed(trainer, saved.get("data", {}))
        else:
            for name, own in (("data", self.data), ("trainer", self.trainer)):
                changes += find_changes(saved.get(name, {}), own, name)
        for change in changes:
            added = isinstance(change.saved, Mapping) is not isinstance(change.given, Mapping)
            schedule = added and change.name.count(".") == 1
            if change.of_optimiser and (schedule or change.name.endswith(("class_path", "optimizer_class"))):
                raise CheckpointError(f"the run cannot continue the optimiser of its checkpoint: {change}")
        if changes:
            rank_zero_info(to_text(changes))
        scheduled = getattr(pl_module, "scheduled_hparams", ())
        kept = [change.name for change in changes if change.of_optimiser and change.name.split(".")[1] not in scheduled]
        if kept:
            rank_zero_info(
                "the optimiser has the state of the checkpoint: changed options of it have no effect "
                f"({', '.join(kept)})"
            )
        fits = trainer.state.fn == TrainerFn.FITTING
        if fits and any(change.name.startswith("data.") and change.name not in LOADING for change in changes):
            rank_zero_info(
                "the best checkpoint so far was chosen on the data before, and its score still counts beside those on "
                "the changed data: begin a run without --ckpt_path where the two cannot be compared"
            )

    def _other_seed(self, trainer: Trainer, saved: Mapping[str, Any]) -> Iterator[Change]:
        """Yield the seed of data of the user's own that are evaluated, if they trained with another.

        What they draw from it can then be what was trained on, unless the checkpoint has their split.
        """
        data = getattr(trainer, "datamodule", None)
        own = type(data).__module__.partition(".")[0] != PACKAGE
        if own and isinstance(data, BaseDataModule) and not data.state_dict():
            yield from (change for change in find_changes(saved, self.data, "data") if change.name == "data.seed")
