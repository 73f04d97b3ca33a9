"""Public API of what tasks share: base classes, loader, split, schedule, predictions as CSV, decorator, checks."""

from lightning_coordconv.core.arguments import check_at_least, check_choice
from lightning_coordconv.core.data import BaseDataModule
from lightning_coordconv.core.description import remember_arguments
from lightning_coordconv.core.dropped import report_dropped
from lightning_coordconv.core.loading import ResumableDataLoader, TrainingSampler
from lightning_coordconv.core.metrics import MeanTerms, SampleMean
from lightning_coordconv.core.network_task import NetworkTask
from lightning_coordconv.core.predictions import PredictionTable
from lightning_coordconv.core.schedules import warmup_cosine
from lightning_coordconv.core.splits import RandomSplit
from lightning_coordconv.core.task import BaseTask, Batch, Outputs

__all__ = [
    "BaseDataModule",
    "BaseTask",
    "Batch",
    "MeanTerms",
    "NetworkTask",
    "Outputs",
    "PredictionTable",
    "RandomSplit",
    "ResumableDataLoader",
    "SampleMean",
    "TrainingSampler",
    "check_at_least",
    "check_choice",
    "remember_arguments",
    "report_dropped",
    "warmup_cosine",
]
