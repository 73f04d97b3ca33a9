"""Functions that build a task from the class and the arguments in a checkpoint, and load and check its weights."""

import inspect
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import IO, Any, TypeVar

from pytorch_lightning import LightningModule
from torch import Tensor, nn

from lightning_coordconv.core.checkpoints import (
    CheckpointError,
    UntrustedCheckpointError,
    build_arguments,
    check_plain,
    read_checkpoint,
    resolve_class,
)
from lightning_coordconv.core.description import HYPERPARAMETERS, INFERENCE, UNDESCRIBED
from lightning_coordconv.core.hyperparameters import accepts
from lightning_coordconv.core.offline import offline, restoring
from lightning_coordconv.core.shipped import find_weights
from lightning_coordconv.core.unsaved_tensors import put_back

TaskType = TypeVar("TaskType", bound=LightningModule)


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
    check_kind(checkpoint, kind, name)
    with named(name, kind):
        check_plain(hyperparameters, HYPERPARAMETERS)
    with named(f"{name} with the given {', '.join(given)}" if given else name, kind):
        with restoring(), offline():
            task: TaskType = _build(kind, hyperparameters, _undescribed(checkpoint), given or {}, name)
        task.configure_model()
    put_back(task, checkpoint, given or {})
    load_weights(task, checkpoint, name, strict)
    weights = checkpoint["state_dict"]
    return task.to(next(iter(weights.values())).device) if weights else task


def load_weights(
    task: LightningModule, checkpoint: Mapping[str, Any], name: object, strict: bool | None = None
) -> None:
    """Give a task the weights of a checkpoint, and what else it keeps of it.

    Raises:
        CheckpointError: naming the file and the first difference, if it is of another task or architecture; or the
            first weight that is not finite.
    """
    with named(name, type(task)):
        task.on_load_checkpoint(dict(checkpoint))
        built = set(_not_finite(task))
        strict = task.strict_loading if strict is None else strict
        _check_weights(task, checkpoint["state_dict"], name, strict)
        task.load_state_dict(checkpoint["state_dict"], strict=strict)
    check_finite(task, name, built)


def _check_weights(task: LightningModule, weights: Mapping[str, Any], name: object, strict: bool) -> None:
    """Refuse what loading would replace without a word: coordinate weights by zeros, and numbers by others.

    Layers with coordinates also load a plain convolution's weights, which is right for a network that is to be trained
    further, but not for a checkpoint of a task that has such layers.
    """
    for key, own in task.state_dict().items():
        if key not in weights:
            if strict and key.endswith("coord_weight"):
                raise CheckpointError(f"{name} holds no coordinate weights {key}")
        elif isinstance(own, Tensor) and isinstance(weights[key], Tensor):
            given = weights[key]
            if own.is_floating_point() != given.is_floating_point() or own.is_complex() != given.is_complex():
                raise CheckpointError(f"{name} holds {key} as {given.dtype}, but the task needs {own.dtype}")


def check_finite(module: nn.Module, name: object, allowed: Collection[str] = ()) -> None:
    """Refuse weights and buffers that are not finite: the run had diverged, and what they compute says nothing.

    Args:
        module: with the weights of a file.
        name: of the file.
        allowed: names of tensors that are not finite in any case, such as a mask of an attention.

    Raises:
        CheckpointError: naming the first of them.
    """
    for key in _not_finite(module):
        if key not in allowed:
            raise CheckpointError(f"{name} holds weights that are infinite or NaN: {key}")


def _not_finite(module: nn.Module) -> Iterator[str]:
    """Yield the names of the parameters and buffers that are not finite."""
    for key, tensor in chain(module.named_parameters(), module.named_buffers()):
        if not tensor.isfinite().all():
            yield key


@contextmanager
def named(name: object, kind: type) -> Iterator[None]:
    """Return a context whose errors name a checkpoint, and say that it is not one of a kind of task.

    Args:
        name: of the file.
        kind: of the task that is built from it.

    Raises:
        UntrustedCheckpointError: in place of one without the name.
        CheckpointError: in place of any other error that the content of a file can cause.
    """
    try:
        yield
    except CheckpointError:
        raise
    except UntrustedCheckpointError as error:
        raise UntrustedCheckpointError(f"{name}: {error}; trust=True loads it all the same") from error
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        reason = (lines[1:] if lines and lines[0].startswith("Error(s) in loading state_dict") else lines)[:1]
        raise CheckpointError(f"{name} holds weights of another architecture: {''.join(reason)}") from error
    except ValueError as error:
        raise CheckpointError(f"{name} is not a checkpoint of this {kind.__name__}: {error}") from error
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise CheckpointError(f"{name} is not a checkpoint of {kind.__name__}: {error!r}") from error


def check_kind(checkpoint: Mapping[str, Any], kind: type, name: object) -> None:
    """Refuse the checkpoint of a task that has nothing to do with a kind, where it names its task."""
    try:
        found = task_class(checkpoint, name)
    except UntrustedCheckpointError:  # of a class that was not imported, as in a program that has ended
        return
    if found is not None and not issubclass(found, kind) and not issubclass(kind, found):
        raise _other_task(name, found, kind.__name__)


def check_before_trust(checkpoint: Mapping[str, Any], kind: type, given: Mapping[str, Any], name: object) -> None:
    """Refuse what trust does not make right: another kind of task, and arguments that are not described.

    Args:
        checkpoint: its content.
        kind: of the task that is built.
        given: arguments of the task in place of those in the checkpoint.
        name: of the file, for error messages.

    Raises:
        CheckpointError: if it is the checkpoint of such a task, or does not describe an argument that is not given.
    """
    check_kind(checkpoint, kind, name)
    _check_described(kind, [key for key in _undescribed(checkpoint) if key not in given], name)


def load_task(
    path: str | Path | IO[bytes],
    kinds: tuple[type[TaskType], ...],
    trust: bool = False,
    given: Mapping[str, Any] | None = None,
) -> TaskType:
    """Return the task of a checkpoint, of the class that the checkpoint names.

    Args:
        path: the file, or the name of shipped weights.
        kinds: classes that the task may be an instance of; the first is built if the checkpoint names none.
        trust: build whatever the checkpoint names, which can run code.
        given: arguments of the task in place of those in the checkpoint.

    Raises:
        FileNotFoundError: if there is no such file, and no shipped weights have that name.
        CheckpointError: if the file is damaged, or the checkpoint of another kind of task.
        UntrustedCheckpointError: see :func:`restore`.
    """
    path = find_weights(path)
    checkpoint = read_checkpoint(path)
    kind = task_class(checkpoint, path, trust) or kinds[0]
    if not issubclass(kind, kinds):
        expected = " or ".join(each.__name__ for each in kinds)
        raise _other_task(path, kind, expected)
    if trust:
        _check_given(kind, given or {})
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


def _other_task(name: object, found: type, expected: str) -> CheckpointError:
    domain = domain_of(found)
    hint = "" if domain is None else f": use {domain}"
    return CheckpointError(f"{name} is a checkpoint of {found.__name__}, and {expected} is expected{hint}")


def _check_given(kind: type, given: Mapping[str, Any]) -> None:
    """Refuse arguments that a task does not have, such as a misspelt one."""
    unknown = [key for key in given if not accepts(kind, key)]
    if unknown:
        known = ", ".join(inspect.signature(kind).parameters)
        raise CheckpointError(f"{kind.__name__} has no argument {unknown[0]!r}; it has {known}")


def _undescribed(checkpoint: Mapping[str, Any]) -> list[str]:
    """Return the names of the arguments that a task was given and its checkpoint does not describe."""
    inference = checkpoint.get(INFERENCE)
    names = inference.get(UNDESCRIBED) if isinstance(inference, Mapping) else None
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _check_described(kind: type, missing: list[str], name: object) -> None:
    """Refuse a checkpoint that does not describe some arguments of a task, which are not given either."""
    if missing:
        raise CheckpointError(
            f"{name} does not describe the {', '.join(missing)} of {kind.__name__}: give what it was trained with, "
            f"as in load(..., {', '.join(f'{key}=...' for key in missing)})"
        )


def _build(
    kind: type[TaskType], hyperparameters: Any, undescribed: list[str], given: Mapping[str, Any], name: object
) -> TaskType:
    """Return the task that hyperparameters describe, with some arguments in place of theirs."""
    if not isinstance(hyperparameters, Mapping):
        raise UntrustedCheckpointError(f"the hyperparameters are a {type(hyperparameters).__name__}, not a dict")
    target = resolve_class(hyperparameters.get("_class_path", kind), kind, "_class_path")
    _check_given(target, given)
    for key in hyperparameters:  # Lightning also saves what a task hands on to its bases
        if not key.startswith("_") and key not in given and not any(accepts(base, key) for base in target.__mro__):
            raise CheckpointError(f"{name} is of another version: {target.__name__} has no argument {key!r}")
    saved = {key: value for key, value in hyperparameters.items() if key not in given and accepts(target, key)}
    missing = [
        key
        for key, parameter in inspect.signature(target).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and key not in {*saved, *given}
    ]
    _check_described(target, [*missing, *(key for key in undescribed if key not in {*missing, *given})], name)
    task: TaskType = target(**build_arguments(target, saved), **given)
    task.hparams.update({key: value for key, value in hyperparameters.items() if key not in given})
    return task
