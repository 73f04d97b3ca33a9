"""What fine-tuning of pretrained weights needs: some of them frozen at first, and their moving average."""

from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim import Optimizer


class FreezeUntil(Callback):
    """Keep pretrained weights as they are for the first epochs, while what is new learns.

    Coordinate weights, which begin at zero, are never frozen. Batch normalisation goes on collecting its statistics;
    that of torchvision's pretrained detectors is frozen for good. Gradients of frozen weights are computed and thrown
    away, so that the ranks of a distributed run, which exchange the gradients of all weights or wait for ever, need
    not know.

    Args:
        epoch: the first epoch, from 0, in which everything is trained.
        names: which parameters, as glob patterns of their names in the task.

    Raises:
        ValueError: when training starts, if a pattern matches no parameter.
    """

    def __init__(self, epoch: int = 1, names: tuple[str, ...] = ("net.detector.backbone.body.*",)) -> None:
        self.epoch = epoch
        self.names = names
        self.frozen: list[nn.Parameter] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Freeze or thaw."""
        parameters = dict(pl_module.named_parameters())
        self.frozen = []
        for pattern in self.names:
            matching = [name for name in parameters if fnmatchcase(name, pattern)]
            if not matching:
                raise ValueError(f"{pattern!r} matches no parameter of {type(pl_module).__name__}")
            if trainer.current_epoch < self.epoch:
                self.frozen += [parameters[name] for name in matching if not name.endswith("coord_weight")]

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Leave frozen weights without gradients, and so as they are; clipping looks at the others alone."""
        for parameter in self.frozen:
            parameter.grad = None


class MovingAverage(WeightAveraging):
    """Lightning's exponential moving average of the weights, which is what is validated, saved and tested.

    The decay is warmed up, as TensorFlow does: after n steps it is at most (1 + n) / (10 + n), so that the average
    follows the weights of a short run too. Lightning's own would, in a test after training, put the weights that were
    not averaged in the place of those that a checkpoint was chosen for.

    Args:
        decay: of the average, per step, after the warm-up.
    """

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__(avg_fn=partial(_average, decay))

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore the average where training goes on; elsewhere it has been loaded as the weights."""
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)


def _average(decay: float, average: Tensor, current: Tensor, updates: Tensor) -> Tensor:
    """Return the next average, for a number of updates () so far that stays on its device."""
    weight = ((1 + updates) / (10 + updates)).clamp(max=decay)
    return weight * average + (1 - weight) * current
