"""Protocols of what callbacks, commands, tasks and data need of each other; a check that samples have a task's keys."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from pytorch_lightning import Trainer
from pytorch_lightning.utilities import rank_zero_info


@runtime_checkable
class TaskOfCallbacks(Protocol):
    """What callbacks require of a task."""

    updated: str | None
    """Name of the network that the current optimiser step updates, if there are several."""

    def steps_done(self) -> str:
        """Return how far training is, in the unit in which this kind of training is counted."""
        ...

    def best_of(self, metric: str) -> Literal["min", "max"] | None:
        """Return which value of a logged metric is best, if that is known."""
        ...


@runtime_checkable
class TaskOfData(Protocol):
    """What the command line requires of a task so that it can be run on data."""

    sample_keys: frozenset[str]
    monitor: str
    mode: ClassVar[Literal["min", "max"]]
    stopping_threshold: ClassVar[float | None]

    def check(self) -> None:
        """Raise a ``ValueError`` for arguments that cannot work."""
        ...

    def check_mode(self, follower: Any, metric: str) -> None:
        """Raise a ``ValueError`` for something that takes the worst value of a metric for the best."""
        ...

    def check_precision(self, precision: object) -> None:
        """Raise a ``ValueError`` for a precision of the trainer that the task cannot have."""
        ...


@runtime_checkable
class TaskOfBatches(Protocol):
    """What a data module requires of a task that looks at a batch before it is moved to a device."""

    def look_at(self, batch: Any) -> None:
        """Check a batch that is on the host, or note what is checked later."""
        ...


@runtime_checkable
class TaskOfTraining(Protocol):
    """What a data module requires of a task so that it remembers what it was trained on."""

    inference: Mapping[str, Any]
    splits: Mapping[str, Any]


@runtime_checkable
class DataOfTask(Protocol):
    """What a task requires of a data module."""

    sample_keys: frozenset[str]
    seed: int


@runtime_checkable
class DatasetOfFiles(Protocol):
    """What a data module requires of a data set to tell whether it shares images with another one."""

    @property
    def sample_files(self) -> Sequence[Path]:
        """The image file of each sample."""
        ...


def data_module(trainer: Trainer) -> Any:
    """Return the data module of a trainer, an attribute that Lightning sets and does not declare."""
    return trainer.datamodule  # type: ignore[attr-defined]


def check_samples(task: TaskOfData, data: DataOfTask) -> None:
    """Raise a ``ValueError`` if the samples of a data module lack a key that a task reads.

    A line of the log names a data module that takes no seed.
    """
    missing = task.sample_keys - data.sample_keys
    if missing:
        raise ValueError(
            f"{type(task).__name__} reads {sorted(missing)}, which the samples of {type(data).__name__} do not "
            f"have: they have {sorted(data.sample_keys)}"
        )
    parameters = inspect.signature(type(data)).parameters
    handed_on = any(each.kind is each.VAR_KEYWORD for each in parameters.values())  # to a base class that takes it
    if "seed" not in parameters and not handed_on:
        rank_zero_info(
            f"{type(data).__name__} takes no argument seed: the order of its training samples and a random split are "
            "the same for all seeds of a run"
        )
