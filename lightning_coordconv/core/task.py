"""BaseTask: base class of all tasks, a LightningModule with verified checkpoints; types of its batches and outputs."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, ClassVar, Literal, Self

import torch
from lightning_fabric.utilities.seed import pl_worker_init_function
from pytorch_lightning import Callback
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn
from torchmetrics import Metric

from lightning_coordconv.core._lightning import is_attached
from lightning_coordconv.core.checked import CheckedArguments, given_arguments, parameters_of
from lightning_coordconv.core.checkpoints import MapLocation, read_checkpoint, verify
from lightning_coordconv.core.counts import count
from lightning_coordconv.core.data import BaseDataModule
from lightning_coordconv.core.description import INFERENCE, complete, find_changed_arguments
from lightning_coordconv.core.hyperparameters import plain_arguments
from lightning_coordconv.core.modes import check_trainable, warn_of_evaluation_mode
from lightning_coordconv.core.offline import restoring
from lightning_coordconv.core.option_changes import to_text
from lightning_coordconv.core.own_steps import name_unequal_shares
from lightning_coordconv.core.plain_data import is_plain
from lightning_coordconv.core.protocols import data_module
from lightning_coordconv.core.restore import check_before_trust, check_finite, check_kind, named, restore
from lightning_coordconv.core.splits import splits_of
from lightning_coordconv.core.task_precision import TaskPrecision
from lightning_coordconv.core.training_data import report_kept
from lightning_coordconv.core.undefined import defined_outputs
from lightning_coordconv.core.unsaved_tensors import TENSORS, tensors_of, warn_of_others

Batch = Mapping[str, Any]
"""Samples as a loader delivers them: a tensor (B, ...) for each key, or a list of one value for each sample."""
Outputs = dict[str, Any]
"""What a task computes from a batch: the loss, and what metrics and callbacks read."""


class BaseTask(CheckedArguments, TaskPrecision):
    """Base class of all tasks: a LightningModule that the command line can run.

    A subclass declares the keys of the samples that it reads (``sample_keys``) and the metric that it is judged by
    (``monitor``, ``mode``, ``stopping_threshold``). Arguments of its constructor that are not plain data (networks,
    functions) are no hyperparameters: checkpoints name their class, if it remembers its arguments.
    """

    sample_keys: frozenset[str] = frozenset()
    monitor: str = "val/loss"
    mode: ClassVar[Literal["min", "max"]] = "min"
    stopping_threshold: ClassVar[float | None] = None
    """The value of ``monitor`` at which training stops; ``None`` if there is none."""
    least: ClassVar[tuple[str, ...]] = ("loss",)
    """How names of metrics begin, after the stage, of which the least value is best; those not named are not known."""
    greatest: ClassVar[tuple[str, ...]] = ()
    """How names of metrics begin of which the greatest value is best."""
    unsaved_hparams: frozenset[str] = frozenset()
    """Names of arguments that are networks, functions or other objects; those that are given are found."""
    given_objects: frozenset[str] = frozenset()
    """Those of them that a task was given, and without which its checkpoint cannot be loaded."""
    given_hparams: Mapping[str, Any] = MappingProxyType({})
    """Arguments as they were given, until they are saved."""
    scheduled_hparams: frozenset[str] = frozenset()
    """Names of arguments by which the task sets its optimiser as it trains, so that a resumed run can change them."""
    built_tensors: frozenset[str] | None = None
    """Names of the tensors that its networks had, beside parameters, before they computed anything."""
    draws_figures: bool = False
    """Whether a run has the callbacks of :meth:`figures`. The command line sets it: ``--figures``."""
    updated: str | None = None
    """Name of the network that the current optimiser step updates, if there are several."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Note the names of the arguments that are not plain data."""
        task = super().__new__(cls, *args, **kwargs)
        parameters = parameters_of(cls)  # type: ignore[arg-type]  # mypy takes the type of a class for one without a hash
        defaults = {each.name: each.default for each in parameters if each.default is not each.empty}
        given = given_arguments(cls, args, kwargs)
        task.unsaved_hparams = cls.unsaved_hparams | _objects(defaults) | _objects(given)
        task.given_objects = _objects(given) - cls.unsaved_hparams
        task.given_hparams = {**defaults, **given}
        return task

    def __init__(self) -> None:
        super().__init__()
        self.inference: Mapping[str, Any] = {}
        """What predictions need, such as class names, by the data of training; see :meth:`describe_data`."""
        self.splits: Mapping[str, Any] = {}
        """The state of the data module of training, by the name of its class; see :class:`~.data.BaseDataModule`."""
        self._defined_outputs = ExitStack()
        # Objects are no plain data. The command line adds what it built them from.
        self.save_hyperparameters(ignore=sorted(self.unsaved_hparams))
        # Lightning reads the frames of constructors, which may have changed an argument before they came here.
        self.hparams.update({name: value for name, value in self.given_hparams.items() if name in self.hparams})
        self.given_hparams = {}
        self.hparams.update(plain_arguments(type(self), self.hparams))

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
            content = read_checkpoint(checkpoint_path, trust=weights_only is False)
            check_before_trust(content, cls, kwargs, checkpoint_path)
            with named(checkpoint_path, cls), restoring():
                task = super().load_from_checkpoint(
                    checkpoint_path, map_location, hparams_file, strict, weights_only is not False, **kwargs
                )
            check_finite(task, checkpoint_path, {name for name, _ in task.named_buffers()})
            return task
        if weights_only is False or hparams_file is not None:
            raise ValueError("weights_only=False and hparams_file can run code: add trust=True, if the file may do so")
        return restore(cls, read_checkpoint(checkpoint_path, map_location), checkpoint_path, strict, kwargs)

    def best_of(self, metric: str) -> Literal["min", "max"] | None:
        """Return which value of a logged metric is best, the least or the greatest; ``None`` if that is not known."""
        if metric == self.monitor:
            return self.mode
        name = metric.partition("/")[2]
        return "min" if name.startswith(self.least) else "max" if name.startswith(self.greatest) else None

    def check_mode(self, follower: Any, metric: str) -> None:
        """Refuse a callback or a schedule that takes the worst value of the metric that it follows for the best.

        Args:
            follower: with the attribute ``mode``, which is ``"min"`` by default, also of those that follow an accuracy.
            metric: the name of the metric.

        Raises:
            ValueError: if it does.
        """
        best = self.best_of(metric)
        if best is not None and follower.mode != best:
            raise ValueError(
                f"mode of {type(follower).__name__} must be {best!r}, since a {best}imum of {metric} is best, got "
                f"{follower.mode!r}"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the task was built from, and what its data module says that predictions need."""
        complete(checkpoint, self, self.unsaved_hparams, self.given_objects, self.describe_data())
        names = (self.built_tensors or frozenset()) - checkpoint["state_dict"].keys()
        checkpoint[TENSORS] = {name: tensor for name, tensor in tensors_of(self).items() if name in names}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint is of this kind of task, and keep what predictions need besides the weights.

        A trainer says which arguments of the task are not those of the checkpoint: weights that fit can mean something
        else in another network. Its file is verified, which Lightning does not do.
        """
        path = self.trainer.ckpt_path if is_attached(self) else None
        if path is not None and Path(path).is_file():
            verify(path)
        check_kind(checkpoint, type(self), path or "the checkpoint")
        changes = find_changed_arguments(checkpoint, self, self.unsaved_hparams) if is_attached(self) else []
        if changes and "_instantiator" not in self.hparams:  # the command line compares all options
            rank_zero_info(to_text(changes))
        warn_of_others(self, checkpoint)
        found = checkpoint.get(INFERENCE)
        self.inference = dict(found) if isinstance(found, Mapping) else {}
        self.splits = splits_of(checkpoint)

    def describe_data(self) -> Mapping[str, Any]:
        """Return what predictions need besides the weights: of the data of training, or else those of an evaluation."""
        data = self.trainer.datamodule if is_attached(self) else None  # type: ignore[attr-defined]
        return data.describe() if isinstance(data, BaseDataModule) and not self.inference else self.inference

    def figures(self) -> list[Callback]:
        """Return the callbacks that draw figures of the results and write them to tables; none by default."""
        return []

    def configure_callbacks(self) -> list[Callback]:
        """Return the callbacks of :meth:`figures` if ``draws_figures``, except those that the trainer already has.

        A subclass of one of them counts as that one.
        """
        if not self.draws_figures:
            return []
        trainer: Any = self.trainer  # whose type does not declare its callbacks
        configured = {kind for callback in trainer.callbacks for kind in type(callback).__mro__}
        return [callback for callback in self.figures() if type(callback) not in configured]

    def check(self) -> None:
        """Raise a ``ValueError`` for arguments that cannot work. Called before a run writes anything."""

    def setup(self, stage: str) -> None:
        """Take the precision, and undo what an interrupted run has left: metrics within an epoch, and checks."""
        super().setup(stage)
        self.built_tensors = frozenset(tensors_of(self)) if self.built_tensors is None else self.built_tensors
        self._defined_outputs.close()
        for metric in (module for module in self.modules() if isinstance(module, Metric)):
            metric.reset()

    def on_fit_start(self) -> None:
        """Give each rank other random numbers, as of transforms and dropout; the first has those of one process.

        The log names what cannot be trained, and what is kept of the data of an earlier training.
        """
        warn_of_evaluation_mode(self)
        name_unequal_shares(self)
        data = data_module(self.trainer)
        if not isinstance(data, BaseDataModule) and not self.trainer.ckpt_path:
            report_kept(self, data)
        check_trainable(self)
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
        return count(self.global_step, "optimiser step")

    def share(self, counts: Tensor | int) -> Tensor | float:
        """Return the weights of a rank's means with which their mean over ranks is the mean over all that they count.

        Args:
            counts: what the means of this rank are over: its samples of a training batch, of which ranks have unequal
                numbers in the last batch of an epoch only, or a tensor of numbers of anything else.
        """
        ranks = self.trainer.world_size if is_attached(self) else 1
        if ranks == 1 or (isinstance(counts, int) and not self.trainer.is_last_batch):
            return 1.0
        exact = torch.promote_types(self.dtype, torch.float32)  # type: ignore[arg-type]  # which may be a string
        own = torch.full((), counts, dtype=exact, device=self.device) if isinstance(counts, int) else counts.to(exact)
        mean = self.mean_over_ranks(own.clone())
        return own / mean.masked_fill(mean == 0, 1)

    def mean_over_ranks(self, tensor: Tensor) -> Tensor:
        """Replace each rank's tensor by the mean over ranks, in place, and return it."""
        if not is_attached(self) or self.trainer.world_size == 1:
            return tensor
        torch.distributed.all_reduce(tensor)  # the strategy's reduce synchronises the ranks first
        return tensor.div_(self.trainer.world_size)


def _objects(arguments: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of arguments that are not plain data."""
    return frozenset(name for name, value in arguments.items() if not is_plain(value))
