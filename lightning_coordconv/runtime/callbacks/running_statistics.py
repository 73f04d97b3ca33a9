"""Batch norm's running statistics on many ranks: exchanged when they are read, not at every step."""

from collections.abc import Iterable

import torch.distributed as dist
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parallel import DistributedDataParallel


class RunningStatistics(Callback):
    """Hand the first rank's running means and variances to the others before validations and at the end of an epoch.

    ``DistributedDataParallel`` does so before every forward pass, and all ranks wait for it, though training does not
    read them. What is validated and saved is the same. Left to it are networks that have other buffers too, which they
    may read, and runs that average weights, which read the statistics in every step.
    """

    def __init__(self) -> None:
        self.statistics: list[Tensor] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the exchange over, if nobody else reads them and the network's buffers are all of this kind."""
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
        """Evaluate the same network on all ranks."""
        self._exchange()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the same network on all ranks."""
        self._exchange()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let go of them."""
        self.statistics = []

    def _exchange(self) -> None:
        for statistic in self.statistics:
            dist.broadcast(statistic, src=0)


def _statistics(modules: Iterable[nn.Module]) -> Iterable[Tensor]:
    for module in modules:
        if isinstance(module, _NormBase):
            yield from module.buffers(recurse=False)
