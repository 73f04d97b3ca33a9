"""NetworkTask: base class of Lightning modules that train one network: steps, optimiser, logs of loss and metrics."""

from collections.abc import Mapping
from functools import partial
from itertools import chain
from typing import Any, ClassVar, Literal, cast

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import Metric, MetricCollection

from lightning_coordconv.core.metrics import MeanLoss
from lightning_coordconv.core.network_options import apply_network_options
from lightning_coordconv.core.schedules import schedule_groups
from lightning_coordconv.core.task import BaseTask, Batch, Outputs


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
        lr_scheduler: builds the learning rate schedule; none by default. Torch's ``ReduceLROnPlateau`` follows the
            metric that the task is judged by, Lightning's its own ``monitor``.
        lr_scheduler_interval: whether the schedule advances once per ``"epoch"`` or once per ``"step"``.
        train_metrics: the metrics of the training stage, if they differ.
        compile: see :func:`~lightning_coordconv.core.network_options.apply_network_options`, as for the last one.
        channels_last: keep its weights in the memory format channels last.
    """

    unsaved_hparams: frozenset[str] = frozenset({"net", "metrics", "train_metrics", "optimizer", "lr_scheduler"})
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
        self.losses = nn.ModuleDict({name: MeanLoss() for name in names})
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

        If the loss is a sum of ``terms``, each term is returned by its name. A loss or a term that is the mean over
        something else than the samples, such as labelled pixels, has their number in ``counts``, by its name: a tensor
        (), on the device of the loss. Where it is 0, the loss must be finite.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement evaluate(batch)")

    def training_step(self, batch: Batch, batch_idx: int) -> Outputs:
        """Return a loss of a training batch whose mean over ranks is the loss of the batches of all ranks."""
        outputs = self._step(batch, self.train_metrics, "train")
        means, counts = self._means(outputs, _count(batch))
        return outputs | {"loss": (means * self.share(counts)).sum()}

    def validation_step(self, batch: Batch, batch_idx: int) -> Outputs:
        """Update the validation metrics."""
        return self._step(batch, self.val_metrics, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> Outputs:
        """Update the test metrics."""
        return self._step(batch, self.test_metrics, "test")

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
        """Build the optimiser of the parameter groups, and the schedule.

        Raises:
            ValueError: for a schedule that takes the worst value of its metric for the best, or that gives one rate to
                groups that have different rates.
        """
        optimizer = self.optimizer(self.parameter_groups())
        for group in optimizer.param_groups:
            group["lr"] *= group.pop("lr_scale", 1.0)
        if self.lr_scheduler is None:
            return optimizer
        schedule = schedule_groups(optimizer, self.lr_scheduler)
        monitor = getattr(schedule, "monitor", self.monitor)
        if isinstance(schedule, ReduceLROnPlateau):
            self.check_mode(schedule, monitor)
        options = {"scheduler": schedule, "interval": self.lr_scheduler_interval, "monitor": monitor}
        return {"optimizer": optimizer, "lr_scheduler": options}

    def best_of(self, metric: str) -> Literal["min", "max"] | None:
        """Return which value of a metric is best, as the task or the metric's class says."""
        return super().best_of(metric) or self._best_by_class(metric)

    def _best_by_class(self, metric: str) -> Literal["min", "max"] | None:
        stage, _, name = metric.partition("/")
        metrics = getattr(self, f"{stage}_metrics", None)
        classes = dict(metrics.items(keep_base=True)) if isinstance(metrics, MetricCollection) else {}
        higher = getattr(classes.get(name), "higher_is_better", None)
        return None if higher is None else "max" if higher else "min"

    def check(self) -> None:
        """Check the mode of the monitor; build the injected optimiser and schedule once, to see that they are valid.

        Raises:
            ValueError: if ``mode`` takes the worst value of the monitored metric for the best; for invalid arguments.
        """
        best = self._best_by_class(self.monitor)
        if best not in (None, self.mode):
            raise ValueError(
                f"mode of {type(self).__name__} must be {best!r}, since higher_is_better of {self.monitor} is "
                f"{best == 'max'}, got {self.mode!r}"
            )
        NetworkTask.configure_optimizers(self)  # a subclass's may need the trainer, which there is not yet

    def _step(self, batch: Batch, metrics: MetricCollection, stage: str) -> Outputs:
        outputs = self._evaluated(batch)
        missing = [name for name in ("loss", "preds", "target") if name not in outputs]
        if missing:
            raise ValueError(
                f"evaluate of {type(self).__name__} must return loss, preds and target: {', '.join(missing)} is missing"
            )
        metrics.update(outputs["preds"], outputs["target"])
        samples = _count(batch)
        log = partial(self.log_dict, on_step=False, on_epoch=True, add_dataloader_idx=False, batch_size=samples)
        for name in ("loss", *self.terms):
            mean = cast(MeanLoss, self.losses[f"{stage}/{name}"])
            mean.update(*self._means(outputs, samples, name))
            log({f"{stage}/{name}": mean}, prog_bar=name == "loss")
        log(metrics, prog_bar=stage == "val")
        return outputs

    def _evaluated(self, batch: Batch) -> Outputs:
        """Return what ``evaluate`` does, with an error that says what batches of a data module of one's own lack."""
        name = type(self).__name__
        if not isinstance(batch, Mapping):
            raise ValueError(f"a batch of {name} must be a dict, as its evaluate reads it, got {type(batch).__name__}")
        try:
            return self.evaluate(batch)
        except KeyError as error:
            if error.args[0] in batch:
                raise
            raise ValueError(f"evaluate of {name} reads {error}, but the batch has only {', '.join(batch)}") from error

    def _means(self, outputs: Outputs, samples: int, name: str = "loss") -> tuple[Tensor, Tensor | int]:
        """Return the means over a batch whose sum a loss or a term is, () or (K,), and what each is over."""
        counts = outputs.get("counts", {})
        if name in counts or name != "loss" or not counts:
            return outputs[name], counts.get(name, samples)
        numbers = [counts.get(term, torch.full((), samples, device=self.device)) for term in self.terms]
        return torch.stack([outputs[term] for term in self.terms]), torch.stack(numbers)


def _count(batch: Batch) -> int:
    """Return the number of samples in a batch: its images, or else a tensor, as pairs of numbers become two tensors."""
    if "image" in batch:
        return len(batch["image"])
    tensors = (value for value in batch.values() if isinstance(value, Tensor) and value.ndim > 0)
    return len(next(chain(tensors, batch.values())))
