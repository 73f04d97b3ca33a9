"""Stop when there is nothing left to gain."""

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_info


class StopAtCeiling(Callback):
    """Stop training once a validation metric has reached the best value that it can have.

    Args:
        monitor: name of the metric.
        ceiling: the value that needs no further training.
        mode: ``"max"`` if higher is better, ``"min"`` if lower is.

    Raises:
        ValueError: for another mode.
    """

    def __init__(self, monitor: str, ceiling: float, mode: str = "max") -> None:
        if mode not in ("min", "max"):
            raise ValueError(f"mode must be 'min' or 'max', got {mode!r}")
        self.monitor = monitor
        self.ceiling = ceiling
        self.mode = mode

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the metric of this validation with its ceiling."""
        if trainer.sanity_checking or self.monitor not in trainer.callback_metrics:
            return
        value = trainer.callback_metrics[self.monitor].item()
        if (value >= self.ceiling) if self.mode == "max" else (value <= self.ceiling):
            trainer.should_stop = True
            rank_zero_info(f"{self.monitor} has reached {value:g} after {trainer.global_step} steps")
