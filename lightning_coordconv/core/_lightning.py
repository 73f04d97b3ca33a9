"""Wrappers of all private names of Lightning and torchmetrics, and of torch's hooks: functions and a LightningCLI."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import LightningCLI
from pytorch_lightning.loops.fit_loop import _FitLoop as FitLoop
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop as TrainingEpochLoop
from torch import nn
from torchmetrics import Metric

NAMES = (
    (LightningCLI, "_parse_ckpt_path"),
    (TrainingEpochLoop, "_broadcast_sigterm_tensor"),
    (FitLoop, "_iteration_based_training"),
    (FitLoop, "_can_stop_early"),
)
"""What a release of Lightning must have, and where."""


def is_attached(module: LightningModule) -> bool:
    """Tell whether a module belongs to a trainer. The public property ``trainer`` raises where it does not."""
    return module._trainer is not None


def skip_sigterm_broadcast(trainer: Trainer) -> None:
    """Switch off the broadcast before every training step, for which all ranks wait. It has no public switch."""
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]


def stop_after_step(trainer: Trainer, stop: bool) -> None:
    """Choose whether Lightning raises ``SIGTERMException`` once the step, or the epoch that ends with it, is complete.

    It has then called all hooks, logged the metrics and moved the schedules. It does so after a signal that it handles.
    """
    trainer._signal_connector.received_sigterm = stop


def resume_between_epochs(trainer: Trainer) -> None:
    """Let the loops that are restored after this begin an epoch, where ``max_steps`` lets them resume the last."""
    trainer.fit_loop._iteration_based_training = lambda: False  # type: ignore[method-assign]


def can_stop_early(trainer: Trainer) -> bool:
    """Tell whether a run that is asked to stop may do so, since it has had its ``min_epochs`` and ``min_steps``."""
    return trainer.fit_loop._can_stop_early


def logged_step(trainer: Trainer) -> int:
    """Return the step that loggers write with the validation that ends: its metric ``step``, or the batch before it."""
    step = trainer._logger_connector.metrics["log"].get("step")
    return trainer.fit_loop.epoch_loop._batches_that_stepped if step is None else int(step)


def is_hooked(module: nn.Module) -> bool:
    """Tell whether a module has hooks that see, and can change, its inputs or outputs."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def set_update_count(metric: Metric, count: int) -> None:
    """Set how often a metric was updated. The public property ``update_count`` cannot be set."""
    metric._update_count = count


@contextmanager
def keeping_dtypes(metrics: Iterable[Metric]) -> Iterator[None]:
    """Let the states of metrics keep their dtypes, and so their values, while a module that has them is converted.

    torchmetrics sees to that in ``half()``, but not in ``to(dtype)``, by which a trainer converts.
    """
    kept = [(metric, metric.dtype, dict(metric._defaults), dict(metric.metric_state)) for metric in metrics]
    yield
    for metric, dtype, defaults, states in kept:
        metric._dtype = dtype
        for name, state in states.items():
            metric._defaults[name] = _in_dtype_of(defaults[name], metric._defaults[name])
            setattr(metric, name, _in_dtype_of(state, getattr(metric, name)))


def _in_dtype_of(state: Any, moved: Any) -> Any:
    """Return a tensor, or a list of tensors, that was moved and perhaps converted, as it would be if only moved."""
    if isinstance(moved, list):
        return [_in_dtype_of(*pair) for pair in zip(state, moved, strict=True)]
    return moved if moved.dtype == state.dtype else state.to(moved.device)


class ConfiguredCLI(LightningCLI):
    """A command line whose configuration no checkpoint replaces: Lightning parses that of ``ckpt_path`` into it."""

    def _parse_ckpt_path(self) -> None:
        """Keep the configuration as it is given."""
