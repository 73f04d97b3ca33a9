"""Base classes of tasks: one of all tasks that the command line can run, and one of tasks that train one network."""

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO, Any, ClassVar, Literal, Self, cast

import torch
from lightning_fabric.utilities.seed import pl_worker_init_function
from pytorch_lightning import Callback, LightningModule
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, MetricCollection

from lightning_coordconv.core._lightning import is_attached
from lightning_coordconv.core.checked import CheckedArguments
from lightning_coordconv.core.checkpoints import MapLocation, read_checkpoint
from lightning_coordconv.core.data import BaseDataModule
from lightning_coordconv.core.network_options import apply_network_options
from lightning_coordconv.core.offline import restoring
from lightning_coordconv.core.restore import INFERENCE, check_kind, complete, named, restore
from lightning_coordconv.core.undefined import defined_outputs

Batch = Mapping[str, Any]
"""Samples as a loader delivers them: a tensor (B, ...) for each key, or a list of one value for each sample."""
Outputs = dict[str, Any]
"""What a task computes from a batch: the loss, and what metrics and callbacks read."""


class BaseTask(CheckedArguments, LightningModule):
    """Base class of all tasks: a LightningModule that the command line can run.

    A subclass declares the keys of the samples that it reads (``sample_keys``), the metric that it is judged by
    (``monitor``, ``mode``, ``stopping_threshold``) and the arguments that are not plain data (``unsaved_hparams``).
    """

    sample_keys: frozenset[str] = frozenset()
    monitor: str = "val/loss"
    mode: ClassVar[Literal["min", "max"]] = "min"
    stopping_threshold: ClassVar[float | None] = None
    """The value of ``monitor`` at which training stops; ``None`` if there is none."""
    unsaved_hparams: ClassVar[frozenset[str]] = frozenset()
    """Names of arguments that are networks, functions or other objects."""
    half_weights: ClassVar[bool] = True
    """Whether the weights can be in half precision, as with ``--trainer.precision bf16-true``."""
    draws_figures: bool = False
    """Whether a run has the callbacks of :meth:`figures`. The command line sets it: ``--figures``."""
    updated: str | None = None
    """Name of the network that the current optimiser step updates, if there are several."""

    def __init__(self) -> None:
        super().__init__()
        self.inference: Mapping[str, Any] = {}
        """What a checkpoint says that predictions need, such as class names; see :meth:`describe_data`."""
        self._defined_outputs = ExitStack()
        # Objects are no plain data. The command line adds what it built them from.
        self.save_hyperparameters(ignore=["metrics", "train_metrics", *self.unsaved_hparams])

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]  # Lightning's refuses to be called on an instance
        cls,
        checkpoint_path: str | Path | IO[bytes],
        map_location: MapLocation = "cpu",
        hparams_file: str | Path | None = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        trust: bool = False,
        **kwargs: Any,
    ) -> Self:
        """Verify a checkpoint, build the task that it describes and load its weights.

        A checkpoint is data: the classes it names must be subclasses of what the parameters of the task are annotated
        with, and their modules part of this package or of its dependencies, or imported before.

        Args:
            checkpoint_path: a file, or one that is open for reading.
            map_location: where to put the weights, and with them the task.
            hparams_file: hyperparameters in place of those in the checkpoint; needs ``trust``.
            strict: whether the names of the weights must be those of the task.
            weights_only: ``False`` accepts pickled objects of any class; needs ``trust``.
            trust: build whatever the checkpoint names, which can run code.
            **kwargs: arguments of the task in place of those in the checkpoint.

        Raises:
            FileNotFoundError: if there is no such file.
            CheckpointError: if the file is damaged, not a checkpoint, or does not fit the task.
            UntrustedCheckpointError: naming the hyperparameter, if an untrusted checkpoint names anything else.
            ValueError: if ``hparams_file`` or ``weights_only=False`` is given without ``trust``.
        """
        if trust:
            rank_zero_info(f"trusting {checkpoint_path}: it can run code as it is loaded")
            check_kind(read_checkpoint(checkpoint_path, trust=weights_only is False), cls, checkpoint_path)
            with named(checkpoint_path, cls), restoring():
                return super().load_from_checkpoint(
                    checkpoint_path, map_location, hparams_file, strict, weights_only is not False, **kwargs
                )
        if weights_only is False or hparams_file is not None:
            raise ValueError("weights_only=False and hparams_file can run code: add trust=True, if the file may do so")
        return restore(cls, read_checkpoint(checkpoint_path, map_location), checkpoint_path, strict, kwargs)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the task was built from, and what its data module says that predictions need."""
        complete(checkpoint, self, self.unsaved_hparams, self.describe_data())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what predictions need besides the weights."""
        found = checkpoint.get(INFERENCE)
        self.inference = dict(found) if isinstance(found, Mapping) else {}

    def describe_data(self) -> Mapping[str, Any]:
        """Return what predictions need besides the weights, of the data module of a run, else of the checkpoint."""
        data = self.trainer.datamodule if is_attached(self) else None  # type: ignore[attr-defined]
        return data.describe() if isinstance(data, BaseDataModule) else self.inference

    def figures(self) -> list[Callback]:
        """Return the callbacks that draw figures of the results and write them to tables; none by default."""
        return []

    def configure_callbacks(self) -> list[Callback]:
        """Return the callbacks of :meth:`figures` if ``draws_figures``, except those that the trainer already has."""
        if not self.draws_figures:
            return []
        trainer: Any = self.trainer  # whose type does not declare its callbacks
        configured = {type(callback) for callback in trainer.callbacks}
        return [callback for callback in self.figures() if type(callback) not in configured]

    def check(self) -> None:
        """Raise a ``ValueError`` for arguments that cannot work. Called before a run writes anything."""

    def setup(self, stage: str) -> None:
        """Reset all metrics: a run that was interrupted has left them in the middle of an epoch."""
        for metric in (module for module in self.modules() if isinstance(module, Metric)):
            metric.reset()

    def on_fit_start(self) -> None:
        """Give each rank other random numbers, as of transforms and dropout; the first has those of one process."""
        if self.global_rank:
            pl_worker_init_function(worker_id=0, rank=self.global_rank)

    def on_predict_start(self) -> None:
        """From now on refuse outputs of the networks that are NaN or infinite."""
        self._defined_outputs.enter_context(defined_outputs(self))

    def on_predict_end(self) -> None:
        """Allow them again."""
        self._defined_outputs.close()

    def network_for(self, data: BaseDataModule) -> nn.Module:
        """Return the network that sees the images of a data module: ``net`` if there is one, else the whole task."""
        return getattr(self, "net", self)

    def steps_done(self) -> str:
        """Return how far training is, in the unit in which this kind of training is counted."""
        return f"{self.global_step} optimiser steps"

    def mean_over_ranks(self, tensor: Tensor) -> Tensor:
        """Replace each rank's tensor by the mean over ranks, in place, and return it.

        The strategy's ``reduce`` computes the same, but synchronises the ranks first.
        """
        if not is_attached(self) or self.trainer.world_size == 1:
            return tensor
        torch.distributed.all_reduce(tensor)
        return tensor.div_(self.trainer.world_size)


class NetworkTask(BaseTask):
    """Base class of tasks that train one network.

    A subclass passes its metrics to ``super().__init__`` and implements :meth:`evaluate`. The command line and
    checkpoints know the arguments below also where a subclass hands them on through ``**kwargs``. The tasks of this
    package repeat them, because editors and the reference show only what a signature names.

    Logged names are ``{stage}/loss``, ``{stage}/{term}`` for the named terms of the loss, and ``{stage}/{metric}``, for
    the stages ``train``, ``val`` and ``test``.

    Args:
        net: the network that is trained.
        metrics: by name; updated with (predictions, targets) in every step, and cloned once per stage.
        optimizer: builds the optimiser from parameter groups. Its ``weight_decay`` applies only to convolution kernels
            (parameters of more than two dimensions), as in the paper's reference implementation.
        lr_scheduler: builds the learning rate schedule; none by default.
        lr_scheduler_interval: whether the schedule advances once per ``"epoch"`` or once per ``"step"``.
        train_metrics: the metrics of the training stage, if they differ.
        compile: see :func:`~lightning_coordconv.core.network_options.apply_network_options`, as for the last one.
        channels_last: keep its weights in the memory format channels last.
    """

    unsaved_hparams: ClassVar[frozenset[str]] = frozenset({"net", "optimizer", "lr_scheduler"})
    stages: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    terms: ClassVar[tuple[str, ...]] = ()
    """Names of the terms whose sum is the loss."""

    def __init__(
        self,
        net: nn.Module,
        metrics: Mapping[str, Metric],
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
        train_metrics: Mapping[str, Metric] | None = None,
        compile: bool = False,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.net = net
        apply_network_options(net, compile, channels_last)
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.lr_scheduler_interval = lr_scheduler_interval
        # Metrics, because Lightning's mean over ranks is wrong if they have unequal numbers of samples
        names = [f"{stage}/{name}" for stage in self.stages for name in ("loss", *self.terms)]
        self.losses = nn.ModuleDict({name: MeanMetric(nan_strategy="disable") for name in names})
        # Compute groups share states that are equal after the first batch, as of top1 and top5 if all is right
        collected = partial(MetricCollection, compute_groups=False)
        self.train_metrics = collected(dict(metrics if train_metrics is None else train_metrics)).clone(prefix="train/")
        self.val_metrics = collected(dict(metrics)).clone(prefix="val/")
        self.test_metrics = self.val_metrics.clone(prefix="test/")

    def forward(self, *args: Any) -> Any:
        """Run the network."""
        return self.net(*args)

    def evaluate(self, batch: Batch) -> Outputs:
        """Return the ``loss`` (a scalar), the ``preds`` and ``target`` of the metrics, and further outputs.

        If the loss is a sum of ``terms``, each term is returned by its name.
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
        """Return the weight of a rank's loss with which the mean over ranks is the mean over samples.

        It is 1 except in the last batch of an epoch, of which ranks can have unequal shares.

        Args:
            samples: number of this rank's samples in the batch.
        """
        if self.trainer.world_size == 1 or not self.trainer.is_last_batch:
            return 1.0
        share = torch.full((), float(samples), device=self.device)
        return share / self.mean_over_ranks(share.clone())

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the optimiser's parameter groups: kernels, and all other parameters without weight decay.

        ``lr_scale``, if a group has it, multiplies the optimiser's learning rate.
        """
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        kernels = [parameter for parameter in parameters if parameter.ndim > 2]
        others = [parameter for parameter in parameters if parameter.ndim <= 2]
        groups: list[dict[str, Any]] = [{"params": kernels}] if kernels else []
        groups += [{"params": others, "weight_decay": 0.0}] if others else []
        return groups

    def configure_optimizers(self) -> Any:
        """Build the optimiser of the parameter groups, and the schedule."""
        optimizer = self.optimizer(self.parameter_groups())
        for group in optimizer.param_groups:
            group["lr"] *= group.pop("lr_scale", 1.0)
        if self.lr_scheduler is None:
            return optimizer
        scheduler = {"scheduler": self.lr_scheduler(optimizer), "interval": self.lr_scheduler_interval}
        return {"optimizer": optimizer, "lr_scheduler": scheduler | {"monitor": self.monitor}}

    def check(self) -> None:
        """Build the injected optimiser and schedule once, to see that their arguments are valid."""
        NetworkTask.configure_optimizers(self)  # a subclass's may need the trainer, which there is not yet

    def _step(self, batch: Batch, metrics: MetricCollection, stage: str) -> Outputs:
        outputs = self.evaluate(batch)
        metrics.update(outputs["preds"], outputs["target"])
        samples = _count(batch)
        log = partial(self.log_dict, on_step=False, on_epoch=True, add_dataloader_idx=False, batch_size=samples)
        for name in ("loss", *self.terms):
            mean = cast(MeanMetric, self.losses[f"{stage}/{name}"])
            mean.update(outputs[name].detach().expand(samples))  # torchmetrics 1.9 drops weights if NaN is allowed
            log({f"{stage}/{name}": mean}, prog_bar=name == "loss")
        log(metrics, prog_bar=stage == "val")
        return outputs


def _count(batch: Batch) -> int:
    """Return the number of samples in a batch."""
    return len(next(iter(batch.values())))
