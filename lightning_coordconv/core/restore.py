"""Builds tasks from checkpoints: classes come from listed packages or from modules imported before."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path
from typing import IO, Any, TypeVar

from pytorch_lightning import LightningModule
from torch import nn

from lightning_coordconv.core.checkpoints import (
    CheckpointError,
    UntrustedCheckpointError,
    build_arguments,
    check_plain,
    read_checkpoint,
    resolve_class,
)
from lightning_coordconv.core.description import describe

TaskType = TypeVar("TaskType", bound=LightningModule)
HYPERPARAMETERS = LightningModule.CHECKPOINT_HYPER_PARAMS_KEY
INFERENCE = "inference"
"""Key of a checkpoint: what a prediction needs besides the weights, such as class names, and the class of the task."""
INSTANTIATOR = "pytorch_lightning.cli.instantiate_module"
"""What builds a task of Lightning from hyperparameters that name classes."""
_restoring = ContextVar("restoring", default=False)


@contextmanager
def restoring() -> Iterator[None]:
    """Return a context in which networks are built for the weights of a checkpoint, without fetching any others."""
    token = _restoring.set(True)
    try:
        yield
    finally:
        _restoring.reset(token)


def is_restoring() -> bool:
    """Tell whether a network that is being built gets its weights from a checkpoint afterwards."""
    return _restoring.get()


def restore(
    kind: type[TaskType],
    checkpoint: Mapping[str, Any],
    name: object,
    strict: bool | None = None,
    given: Mapping[str, Any] | None = None,
) -> TaskType:
    """Return the task that a checkpoint describes, with its weights.

    Args:
        kind: what the task must be an instance of.
        checkpoint: its content.
        name: of the file, for error messages.
        strict: whether the names of the weights must be those of the task.
        given: arguments of the task in place of those in the checkpoint.

    Raises:
        UntrustedCheckpointError: naming the hyperparameter, if the checkpoint names anything else than classes that it
            may name.
        CheckpointError: if it does not describe all arguments, or holds weights of another architecture.
    """
    hyperparameters = checkpoint.get(HYPERPARAMETERS, {})
    try:
        check_plain(hyperparameters, HYPERPARAMETERS)
        with restoring():
            task: TaskType = _build(kind, hyperparameters, given or {}, name)
    except UntrustedCheckpointError as error:
        raise UntrustedCheckpointError(f"{name}: {error}; trust=True loads it all the same") from error
    task.configure_model()
    task.on_load_checkpoint(dict(checkpoint))
    load_weights(task, checkpoint["state_dict"], name, strict)
    weights = checkpoint["state_dict"]
    return task.to(next(iter(weights.values())).device) if weights else task


def load_weights(module: nn.Module, weights: Mapping[str, Any], name: object, strict: bool | None = None) -> None:
    """Load weights into a task or a network.

    Args:
        module: whose weights they become.
        weights: by name.
        name: of the file, for error messages.
        strict: whether the names must be those of the module; by default what a task says.

    Raises:
        CheckpointError: naming the first difference, if they belong to another architecture, or the first that is not
            finite: the run had diverged, and whatever is computed with them says nothing.
    """
    try:
        module.load_state_dict(weights, strict=getattr(module, "strict_loading", True) if strict is None else strict)
    except RuntimeError as error:
        differences = [line.strip() for line in str(error).splitlines()[1:]]
        raise CheckpointError(f"{name} holds weights of another architecture: {differences[0]}") from error
    for key, weight in module.named_parameters():
        if not weight.isfinite().all():
            raise CheckpointError(f"{name} holds weights that are infinite or NaN: {key}")


def complete(checkpoint: dict[str, Any], task: LightningModule, names: frozenset[str], inference: Any) -> None:
    """Add to a checkpoint what its task was built from and what predictions need, so that the file is enough.

    Args:
        checkpoint: is changed.
        task: of the checkpoint.
        names: arguments that are no plain data; those that can be described are added, unless they are there.
        inference: see :meth:`~lightning_coordconv.core.BaseDataModule.describe`.
    """
    name = f"{type(task).__module__}.{type(task).__qualname__}"
    checkpoint[INFERENCE] = {**inference, "task": name}
    hyperparameters = checkpoint.setdefault(HYPERPARAMETERS, {})
    described = {key: describe(getattr(task, key, None)) for key in names if key not in hyperparameters}
    known = {key: description for key, description in described.items() if description is not None}
    if known and type(task).__module__ != "__main__":  # whose classes have another name in any other program
        hyperparameters |= {"_class_path": name, "_instantiator": INSTANTIATOR, **known}


def load_task(
    path: str | Path | IO[bytes],
    kinds: tuple[type[TaskType], ...],
    trust: bool = False,
    given: Mapping[str, Any] | None = None,
) -> TaskType:
    """Return the task of a checkpoint, of the class that the checkpoint names.

    Args:
        path: the file.
        kinds: classes that the task may be an instance of; the first is built if the checkpoint names none.
        trust: build whatever the checkpoint names, which can run code.
        given: arguments of the task in place of those in the checkpoint.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if the file is damaged, or the checkpoint of another kind of task.
        UntrustedCheckpointError: see :func:`restore`.
    """
    checkpoint = read_checkpoint(path)
    kind = task_class(checkpoint, path, trust) or kinds[0]
    if not issubclass(kind, kinds):
        expected = " or ".join(each.__name__ for each in kinds)
        raise CheckpointError(f"{path} is a checkpoint of {kind.__name__}, and {expected} is expected{_hint(kind)}")
    if trust:
        task: TaskType = kind.load_from_checkpoint(path, trust=True, **(given or {}))
        return task
    return restore(kind, checkpoint, path, None, given)


def task_class(checkpoint: Mapping[str, Any], name: object, trust: bool = False) -> type | None:
    """Return the class of a checkpoint's task; ``None`` where the checkpoint does not name it.

    Args:
        checkpoint: its content.
        name: of the file, for error messages.
        trust: import the module of the class, which runs its code.

    Raises:
        UntrustedCheckpointError: if what it names is no task, or in a module that must not be imported.
    """
    for key, entry in ((INFERENCE, "task"), (HYPERPARAMETERS, "_class_path")):
        part = checkpoint.get(key)
        found = part.get(entry) if isinstance(part, Mapping) else None
        if not isinstance(found, str):
            continue
        if trust:
            import_module(found.rpartition(".")[0])
        try:
            return resolve_class(found, LightningModule, "the task")
        except UntrustedCheckpointError as error:
            raise UntrustedCheckpointError(f"{name}: {error}; trust=True loads it all the same") from error
    return None


def domain_of(kind: type) -> str | None:
    """Return the package of this project that a task, or the class that it extends, belongs to."""
    package = __name__.partition(".")[0]
    for base in kind.__mro__:
        parts = base.__module__.split(".")
        if parts[0] == package and parts[1] != "core":
            return ".".join(parts[:2])
    return None


def _hint(kind: type) -> str:
    domain = domain_of(kind)
    return "" if domain is None else f": use {domain}"


def _build(kind: type[TaskType], hyperparameters: Any, given: Mapping[str, Any], name: object) -> TaskType:
    """Return the task that hyperparameters describe, with some arguments in place of theirs."""
    if not isinstance(hyperparameters, Mapping):
        raise UntrustedCheckpointError(f"the hyperparameters are a {type(hyperparameters).__name__}, not a dict")
    target = resolve_class(hyperparameters.get("_class_path", kind), kind, "_class_path")
    accepted = inspect.signature(target).parameters
    saved = {key: value for key, value in hyperparameters.items() if key in accepted and key not in given}
    missing = [
        key
        for key, parameter in accepted.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and key not in {*saved, *given}
    ]
    if missing:
        raise CheckpointError(
            f"{name} does not describe the {', '.join(missing)} of {target.__name__}: give what it was trained with, "
            f"as in load(..., {missing[0]}=...)"
        )
    task: TaskType = target(**build_arguments(target, saved), **given)
    task.hparams.update({key: value for key, value in hyperparameters.items() if key not in given})
    return task
