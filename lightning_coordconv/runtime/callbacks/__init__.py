"""Exports callbacks for runs of any task: checkpoints, interruption, checks, reports and fine-tuning."""

from lightning_coordconv.runtime.callbacks.accumulation import AccumulatedGradients
from lightning_coordconv.runtime.callbacks.best_checkpoint import BestCheckpoint
from lightning_coordconv.runtime.callbacks.complete_epochs import CompleteEpochs
from lightning_coordconv.runtime.callbacks.defaults import default_callbacks
from lightning_coordconv.runtime.callbacks.finetuning import FreezeUntil, MovingAverage
from lightning_coordconv.runtime.callbacks.finite import StopAtNonFinite
from lightning_coordconv.runtime.callbacks.plateau import PlateauSteps
from lightning_coordconv.runtime.callbacks.preemption import Preemption
from lightning_coordconv.runtime.callbacks.randomness import RandomState
from lightning_coordconv.runtime.callbacks.run_folder import RunFolder
from lightning_coordconv.runtime.callbacks.running_statistics import RunningStatistics
from lightning_coordconv.runtime.callbacks.split_file import SplitFile
from lightning_coordconv.runtime.callbacks.stopped_early import StoppedEarly
from lightning_coordconv.runtime.callbacks.summary import RunSummary
from lightning_coordconv.runtime.callbacks.training_metrics import TrainingMetrics

__all__ = [
    "AccumulatedGradients",
    "BestCheckpoint",
    "CompleteEpochs",
    "FreezeUntil",
    "MovingAverage",
    "PlateauSteps",
    "Preemption",
    "RandomState",
    "RunFolder",
    "RunSummary",
    "RunningStatistics",
    "SplitFile",
    "StopAtNonFinite",
    "StoppedEarly",
    "TrainingMetrics",
    "default_callbacks",
]
