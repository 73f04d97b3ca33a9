"""Callback by which a run that early stopping has ended trains no further when it is resumed."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks.early_stopping import EarlyStopping, EarlyStoppingReason
from pytorch_lightning.utilities import rank_zero_info

CRITERIA = ("patience", "min_delta", "stopping_threshold", "divergence_threshold")
"""Options of ``EarlyStopping`` that say when to stop."""


class StoppedEarly(Callback):
    """Ends a resumed run at once if early stopping had ended it, unless the criteria have changed since.

    Lightning's ``EarlyStopping`` decides only with the next value of its metric, so that a run that was interrupted in
    its test, or is started again, would train until then. It also replaces the patience of the options by that of the
    checkpoint.
    """

    def __init__(self) -> None:
        self.callbacks: list[EarlyStopping] = []
        self.stopped: dict[str, dict[str, Any]] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the callbacks that stop early."""
        self.callbacks = [each for each in trainer.early_stopping_callbacks if isinstance(each, EarlyStopping)]

    def state_dict(self) -> dict[str, Any]:
        """Return the criteria of the callbacks that have asked to stop."""
        return {
            each.state_key: _criteria(each)
            for each in self.callbacks
            if each.stopping_reason != EarlyStoppingReason.NOT_STOPPED
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep them until the fit starts."""
        self.stopped = state_dict

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the patience that was asked for."""
        for each in self.callbacks:
            state = checkpoint.get("callbacks", {}).get(each.state_key)
            if isinstance(state, dict):
                checkpoint["callbacks"][each.state_key] = state | {"patience": each.patience}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop where the run had stopped."""
        for each in self.callbacks:
            if self.stopped.get(each.state_key) == _criteria(each):
                rank_zero_info(f"early stopping by {each.monitor} had ended this run, and it trains no further")
                trainer.should_stop = True
        self.stopped = {}


def _criteria(callback: EarlyStopping) -> dict[str, Any]:
    return {name: getattr(callback, name) for name in CRITERIA}
