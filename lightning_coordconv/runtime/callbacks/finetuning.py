"""Callbacks for fine-tuning: one freezes weights at first, one keeps a moving average of the weights."""

from copy import copy
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_coordconv.core.checked import CheckedArguments


class FreezeUntil(CheckedArguments, Callback):
    """Freezes pretrained weights for the first epochs, while new weights learn.

    Coordinate weights, which start at zero, are never frozen. Batch normalisation continues to collect its statistics,
    except in torchvision's pretrained detectors, where it is always frozen. Gradients of frozen weights are computed
    and discarded, because ``DistributedDataParallel`` expects gradients of all weights.

    Args:
        epoch: the first epoch, from 0, in which all weights are trained.
        names: glob patterns of parameter names in the task.

    Raises:
        ValueError: when training starts, if a pattern matches no parameter.
    """

    def __init__(self, epoch: int = 1, names: tuple[str, ...] = ("net.detector.backbone.body.*",)) -> None:
        self.epoch = epoch
        self.names = names
        self.chosen: list[nn.Parameter] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Select the weights that the patterns name."""
        parameters = dict(pl_module.named_parameters())
        self.chosen = []
        for pattern in self.names:
            matching = [name for name in parameters if fnmatchcase(name, pattern)]
            if not matching:
                raise ValueError(f"{pattern!r} matches no parameter of {type(pl_module).__name__}")
            self.chosen += [parameters[name] for name in matching if not name.endswith("coord_weight")]

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Drop the gradients of frozen weights, so that neither clipping nor the optimiser sees them.

        The epoch is read at each step, because Lightning does not announce the start of an epoch that is resumed in the
        middle.
        """
        if trainer.current_epoch < self.epoch:
            for parameter in self.chosen:
                parameter.grad = None


class MovingAverage(CheckedArguments, WeightAveraging):
    """Lightning's exponential moving average of the weights, which is validated, saved and tested in their place.

    The decay is warmed up, as TensorFlow does: after n steps it is at most (1 + n) / (10 + n), so that the average
    follows the weights of a short run too. Lightning's own callback, in a test after training, replaces the averaged
    weights of the loaded checkpoint by the weights that were not averaged. With the precision 64-true averages, and in
    a validation weights, are rounded to single precision.

    Args:
        decay: of the average, per step, after the warm-up, from 0 to less than 1.

    Raises:
        ValueError: for another decay; in a fit, for a task that cannot be copied, as those of agents.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be from 0 to less than 1, got {decay!r}")
        super().__init__(avg_fn=partial(_average, decay))

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin a new average, and count the steps anew: Lightning would take the steps of an earlier run for done."""
        if stage == TrainerFn.FITTING:
            self.load_state_dict({"latest_update_step": 0})
        try:
            super().setup(trainer, pl_module, stage)
        except TypeError as error:  # of the copy
            raise ValueError(
                f"the weights of {type(pl_module).__name__} cannot be averaged, as it cannot be copied ({error}): "
                "leave out MovingAverage"
            ) from error

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Save the average as the weights, with the metadata of their layers, which Lightning would leave out."""
        weights = copy(checkpoint["state_dict"])  # the metadata are an attribute, which a copy of its items has not
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        weights.update(checkpoint["state_dict"])
        checkpoint["state_dict"] = weights

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore the average if training is resumed; otherwise it has been loaded as the weights."""
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)


def _average(decay: float, average: Tensor, current: Tensor, updates: Tensor) -> Tensor:
    """Return the next average, for a number of updates () so far that stays on its device."""
    weight = ((1 + updates) / (10 + updates)).clamp(max=decay)
    return weight * average + (1 - weight) * current
