"""The base classes that every domain shares: tasks, data modules, loading, metrics, figures."""

from lightning_coordconv.core.data import BaseDataModule
from lightning_coordconv.core.loading import ResumableDataLoader, TrainingSampler
from lightning_coordconv.core.predictions import PredictionTable
from lightning_coordconv.core.schedules import warmup_cosine
from lightning_coordconv.core.task import BaseTask, NetworkTask

__all__ = [
    "BaseDataModule",
    "BaseTask",
    "NetworkTask",
    "PredictionTable",
    "ResumableDataLoader",
    "TrainingSampler",
    "warmup_cosine",
]
