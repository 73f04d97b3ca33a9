"""Callback that logs which options of the optimisers are those of the checkpoint, and not those of the run."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_info

from lightning_coordconv.core.checkpoints import CheckpointError

PLAIN = (bool, int, float, tuple)


class ResumedOptimisers(Callback):
    """Compares the optimisers that a task has built with those of the checkpoint, which take their place.

    Whatever an option of the task is called, such as ``lr``, it has no effect on a run that resumes. Rates that a
    schedule or the task itself sets are not compared.

    Raises:
        CheckpointError: if an optimiser of the checkpoint lacks options, as one of another class.
    """

    def __init__(self) -> None:
        self.resumes = False
        self.built: list[dict[str, Any]] = []

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Note that the run resumes."""
        self.resumes = True

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the options of the optimisers, before those of the checkpoint replace them."""
        self.built = _groups(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the options."""
        groups = _groups(trainer)
        if not self.resumes or not groups:
            return
        scheduled = bool(trainer.lr_scheduler_configs or getattr(pl_module, "scheduled_hparams", ()))
        lines: dict[str, None] = {}
        for built, group in zip(self.built, groups, strict=False):
            missing = built.keys() - group.keys() - {"initial_lr"}
            if missing:
                raise CheckpointError(
                    "the run cannot continue the optimiser of its checkpoint, which is one of another class: it has no "
                    f"{', '.join(sorted(missing))}"
                )
            cycled = {"momentum", "betas"} if "max_momentum" in group else set()
            for name in sorted(built.keys() & group.keys() - cycled - ({"lr"} if scheduled else set())):
                if isinstance(built[name], PLAIN) and built[name] != group[name]:
                    lines[f"{name} is {group[name]}, and not {built[name]}"] = None
        if lines:
            rank_zero_info(f"the optimiser has the options of the checkpoint: {'; '.join(lines)}")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Say if the learning rate is 0 in the first step, for which a task can set another one."""
        groups = _groups(trainer)
        if self.resumes and groups and not any(group["lr"] for group in groups):
            rank_zero_info(
                "the learning rate of the checkpoint is 0, as its schedule has ended: as long as it is, the optimiser "
                "changes no weight. To train them further, begin a new run with them: in Python, "
                f"Trainer(...).fit({type(pl_module).__name__}.load_from_checkpoint(FILE), data)"
            )
        self.resumes = False


def _groups(trainer: Trainer) -> list[dict[str, Any]]:
    """Return the options of the optimisers' parameter groups."""
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    return [{name: value for name, value in group.items() if name != "params"} for group in groups]
