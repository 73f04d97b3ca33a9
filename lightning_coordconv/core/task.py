"""What the command line asks of every task, and what tasks around one network share."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Literal, cast

import torch
from pytorch_lightning import Callback, LightningModule
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.core.mixins.hparams_mixin import _given_hyperparameters
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, MetricCollection

Batch = Mapping[str, Any]
Outputs = dict[str, Any]


class BaseTask(LightningModule):
    """What the command line asks of a LightningModule.

    A subclass declares what it reads (``sample_keys``), what it is judged by (``monitor``, ``mode``,
    ``stopping_threshold``) and which of its arguments are no plain values (``unsaved_hparams``).
    """

    sample_keys: ClassVar[frozenset[str]] = frozenset()
    monitor: str = "val/loss"
    mode: ClassVar[Literal["min", "max"]] = "min"
    stopping_threshold: ClassVar[float | None] = None
    """A value of ``monitor`` that needs no further training; ``None`` where there is none."""
    unsaved_hparams: ClassVar[frozenset[str]] = frozenset()
    """Arguments that are networks, callables and the like."""
    draws_figures: bool = False
    """Whether a run has the callbacks of :meth:`figures`. The command line sets it: ``--figures``."""
    updated: str | None = None
    """Which of several networks the loss that is minimised just now belongs to."""

    def __init__(self) -> None:
        super().__init__()
        # Under LightningCLI the hyperparameters are plain dicts that load_from_checkpoint can rebuild; in Python they
        # would be the objects themselves, which a checkpoint loaded with weights_only=True must not hold.
        from_cli = _given_hyperparameters.get() is not None
        self.save_hyperparameters(ignore=["metrics", "train_metrics", *([] if from_cli else self.unsaved_hparams)])

    def figures(self) -> list[Callback]:
        """Return the callbacks that draw figures of the results and write them to tables; none by default."""
        return []

    def configure_callbacks(self) -> list[Callback]:
        """Return the callbacks of :meth:`figures` if ``draws_figures``, except those that the trainer already has."""
        if not self.draws_figures:
            return []
        configured = {type(callback) for callback in self.trainer.callbacks}  # type: ignore[attr-defined]
        return [callback for callback in self.figures() if type(callback) not in configured]

    def mean_over_ranks(self, tensor: Tensor) -> Tensor:
        """Turn a tensor of each rank into the mean of all of them, in place, and return it.

        The strategy's ``reduce`` would do as well, but has the ranks wait for each other first.
        """
        if self._trainer is None or self.trainer.world_size == 1:
            return tensor
        torch.distributed.all_reduce(tensor)
        return tensor.div_(self.trainer.world_size)


class NetworkTask(BaseTask):
    """A task around one injected network.

    A subclass hands its metrics to ``super().__init__`` and implements :meth:`evaluate`.

    Logged names are ``{stage}/loss``, ``{stage}/{term}`` where the loss has terms with names, and ``{stage}/{metric}``,
    for the stages ``train``, ``val`` and ``test``.

    Args:
        net: the network that is trained.
        metrics: by name; updated with (predictions, targets) by every step, and cloned once per stage.
        train_metrics: those of the training stage, where they differ.
        optimizer: builds the optimiser from parameter groups. Its ``weight_decay`` applies to convolution kernels
            alone (parameters of more than two dimensions), as in the paper's reference implementation.
        lr_scheduler: builds the learning rate schedule; none by default.
        lr_scheduler_interval: whether the schedule moves once an ``"epoch"`` or once a ``"step"``.
    """

    unsaved_hparams: ClassVar[frozenset[str]] = frozenset({"net", "optimizer", "lr_scheduler"})
    stages: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    terms: ClassVar[tuple[str, ...]] = ()
    """Names of the terms that the loss is the sum of."""

    def __init__(
        self,
        net: nn.Module,
        metrics: Mapping[str, Metric],
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
        train_metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.lr_scheduler_interval = lr_scheduler_interval
        # Metrics, since Lightning's own mean over ranks is wrong where they have seen unequal numbers of samples
        names = [f"{stage}/{name}" for stage in self.stages for name in ("loss", *self.terms)]
        self.losses = nn.ModuleDict({name: MeanMetric(nan_strategy="disable") for name in names})
        # Compute groups would share what is equal after the first batch: top1 and top5 of one that is all right
        collected = partial(MetricCollection, compute_groups=False)
        self.train_metrics = collected(dict(metrics if train_metrics is None else train_metrics)).clone(prefix="train/")
        self.val_metrics = collected(dict(metrics)).clone(prefix="val/")
        self.test_metrics = self.val_metrics.clone(prefix="test/")

    def forward(self, *args: Any) -> Any:
        """Run the network alone."""
        return self.net(*args)

    def evaluate(self, batch: Batch) -> Outputs:
        """Return the ``loss`` (a scalar), the ``preds`` and ``target`` of the metrics, and what else is made.

        Where the loss is a sum of ``terms``, each of them too is returned by its name.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement evaluate(batch)")

    def training_step(self, batch: Batch, batch_idx: int) -> Outputs:
        """Return the loss of a training batch."""
        outputs = self._step(batch, self.train_metrics, "train")
        return outputs | {"loss": outputs["loss"] * self.share(_count(batch))}

    def validation_step(self, batch: Batch, batch_idx: int) -> Outputs:
        """Update the validation metrics."""
        return self._step(batch, self.val_metrics, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> Outputs:
        """Update the test metrics."""
        return self._step(batch, self.test_metrics, "test")

    def share(self, samples: int) -> Tensor | float:
        """Return what to weight a rank's loss by, so that the mean over ranks is the mean over samples.

        It is 1 but for the last batch of an epoch, of which ranks can have unequal shares.

        Args:
            samples: the rank's samples in the batch.
        """
        if self.trainer.world_size == 1 or not self.trainer.is_last_batch:
            return 1.0
        share = torch.tensor(float(samples), device=self.device)
        return share / self.mean_over_ranks(share.clone())

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return what the optimiser is built from: kernels, and the rest without weight decay.

        A group's ``lr_scale``, if it has one, multiplies the optimiser's learning rate.
        """
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        kernels = [parameter for parameter in parameters if parameter.ndim > 2]
        others = [parameter for parameter in parameters if parameter.ndim <= 2]
        groups: list[dict[str, Any]] = [{"params": kernels}] if kernels else []
        groups += [{"params": others, "weight_decay": 0.0}] if others else []
        return groups

    def configure_optimizers(self) -> Any:
        """Build the injected optimiser over the parameter groups, and the injected schedule."""
        optimizer = self.optimizer(self.parameter_groups())
        for group in optimizer.param_groups:
            group["lr"] *= group.pop("lr_scale", 1.0)
        if self.lr_scheduler is None:
            return optimizer
        scheduler = {
            "scheduler": self.lr_scheduler(optimizer),
            "interval": self.lr_scheduler_interval,
            "monitor": self.monitor,
        }
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def _step(self, batch: Batch, metrics: MetricCollection, stage: str) -> Outputs:
        outputs = self.evaluate(batch)
        metrics.update(outputs["preds"], outputs["target"])
        samples = _count(batch)
        log = partial(self.log_dict, on_step=False, on_epoch=True, add_dataloader_idx=False, batch_size=samples)
        for name in ("loss", *self.terms):
            mean = cast(MeanMetric, self.losses[f"{stage}/{name}"])
            mean.update(outputs[name].detach().expand(samples))  # torchmetrics 1.9 forgets weights if it lets NaN be
            log({f"{stage}/{name}": mean}, prog_bar=name == "loss")
        log(metrics, prog_bar=stage == "val")
        return outputs


def _count(batch: Batch) -> int:
    """Return the number of samples in a batch."""
    return len(next(iter(batch.values())))
