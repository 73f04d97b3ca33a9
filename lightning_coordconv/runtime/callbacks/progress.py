"""Callbacks that show a run's progress, as a bar or a line every 30 seconds, and a function that returns steps done."""

import time
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar, RichProgressBar
from rich.progress import Task, TextColumn
from rich.text import Text

from lightning_coordconv.core.counts import count
from lightning_coordconv.core.protocols import TaskOfCallbacks


class EpochColumn(TextColumn):
    """The number of the epoch, without the number of all epochs where that is unlimited (``-1``)."""

    def render(self, task: Task) -> Text:
        """Return the description of a task."""
        return Text(task.description.removesuffix("/-2"))


class TerminalProgressBar(RichProgressBar):
    """Lightning's progress bar."""

    def configure_columns(self, trainer: Trainer) -> list[Any]:
        """Return Lightning's columns with another first one."""
        return [EpochColumn("{task.description}"), *super().configure_columns(trainer)[1:]]


class ProgressLines(ProgressBar):
    """Prints the step and the metrics of the progress bar at intervals, on the first rank.

    Reading the metrics waits for the device, once an interval.

    Args:
        seconds: the length of an interval.
    """

    def __init__(self, seconds: float = 30.0) -> None:
        super().__init__()
        self.seconds = seconds
        self.is_enabled = True
        self.printed = time.monotonic()

    def disable(self) -> None:
        """Print nothing; Lightning calls it on all ranks but the first."""
        self.is_enabled = False

    def enable(self) -> None:
        """Print lines."""
        self.is_enabled = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print a line of training."""
        if self._is_due():
            of = f" of {trainer.max_epochs}" if (trainer.max_epochs or -1) > 0 else ""
            self._print(f"epoch {trainer.current_epoch + 1}{of}, {steps_done(trainer, pl_module)}", metrics(trainer))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the values at the end of training, which may be shorter than an interval."""
        if self.is_enabled:
            self._print(f"training ended, {steps_done(trainer, pl_module)}", metrics(trainer))

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Print a line of validation."""
        if self._is_due():
            self._print("validation", [count(batch_idx + 1, "batch")])

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Print a line of a test."""
        if self._is_due():
            self._print("test", [count(batch_idx + 1, "batch")])

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Print a line of a prediction."""
        if self._is_due():
            self._print("prediction", [count(batch_idx + 1, "batch")])

    def _is_due(self) -> bool:
        return self.is_enabled and time.monotonic() - self.printed >= self.seconds

    def _print(self, what: str, values: list[str]) -> None:
        print(f"{time.strftime('%H:%M:%S')} {what}: {', '.join(values)}" if values else what, flush=True)
        self.printed = time.monotonic()


def metrics(trainer: Trainer) -> list[str]:
    """Return the metrics of the progress bar as text."""
    return [f"{name} {value:.4g}" for name, value in trainer.progress_bar_metrics.items()]


def steps_done(trainer: Trainer, module: LightningModule) -> str:
    """Return how far training is, in the unit of the task."""
    return module.steps_done() if isinstance(module, TaskOfCallbacks) else count(trainer.global_step, "optimiser step")
