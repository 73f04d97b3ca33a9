"""Callback that broadcasts batch norm's running statistics to all ranks before validations and at epoch ends only."""

from collections.abc import Iterable

import torch.distributed as dist
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

NORMS: tuple[type[nn.Module], ...] = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
NORMS += (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


class RunningStatistics(Callback):
    """Broadcasts the first rank's running means and variances before validations and at the end of an epoch.

    ``DistributedDataParallel`` does so before every forward pass, and all ranks wait for it, although training does not
    read the statistics. The statistics that are validated and saved are the same. Two kinds of run are left to it:
    networks that have other buffers too, which their forward pass may read, and runs that average weights, which read
    the statistics in every step.
    """

    def __init__(self) -> None:
        self.statistics: list[Tensor] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the exchange, if nothing else reads the statistics and the network has no other buffers."""
        model = trainer.model
        if not isinstance(model, DistributedDataParallel) or not model.broadcast_buffers:
            return
        if any(isinstance(callback, WeightAveraging) for callback in trainer.callbacks):  # type: ignore[attr-defined]
            return
        statistics = list(_statistics(pl_module.modules()))
        if len(statistics) == len(list(pl_module.buffers())):
            self.statistics = statistics
            model.broadcast_buffers = False

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the network the same on all ranks before it is evaluated."""
        self._exchange()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the network the same on all ranks at the end of an epoch."""
        self._exchange()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Release the statistics."""
        self.statistics = []

    def _exchange(self) -> None:
        for statistic in self.statistics:
            dist.broadcast(statistic, src=0)


def _statistics(modules: Iterable[nn.Module]) -> Iterable[Tensor]:
    for module in modules:
        if isinstance(module, NORMS):
            yield from module.buffers(recurse=False)
