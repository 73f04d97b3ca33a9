"""Decorator that makes classes keep their arguments, and functions that describe objects by them in checkpoints."""

import functools
import inspect
from collections.abc import Mapping
from typing import Any, TypeVar

from pytorch_lightning import LightningModule
from pytorch_lightning.utilities import rank_zero_warn

from lightning_coordconv.core.checked import given_arguments
from lightning_coordconv.core.hyperparameters import plain_arguments
from lightning_coordconv.core.network_changes import find_change, find_hook, structure_of
from lightning_coordconv.core.option_changes import Change, find_changes
from lightning_coordconv.core.plain_data import is_plain, to_plain

InstanceT = TypeVar("InstanceT")
HYPERPARAMETERS = LightningModule.CHECKPOINT_HYPER_PARAMS_KEY
INFERENCE = "inference"
"""Key of a checkpoint: what a prediction needs besides the weights, such as class names, and the class of the task."""
UNDESCRIBED = "undescribed"
"""Key of the former: names of arguments that the task was given and that the checkpoint does not describe."""
INSTANTIATOR = "pytorch_lightning.cli.instantiate_module"
"""What builds a task of Lightning from hyperparameters that name classes."""

UNNAMED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY)
"""Kinds of parameters that cannot be given by name."""


def remember_arguments(cls: type[InstanceT]) -> type[InstanceT]:
    """Make a class keep the arguments of each instance in ``init_args``; a decorator.

    Instances of subclasses have no ``init_args``: their arguments are others. Nor have instances that were built with
    arguments that cannot be given by name (``*args``, and those before ``/``).

    Args:
        cls: a class with a constructor.
    """
    build = getattr(cls, "__init__")  # noqa: B009  # mypy refuses the attribute
    signature = inspect.signature(build)
    unnamed = {name for name, each in signature.parameters.items() if each.kind in UNNAMED}

    @functools.wraps(build)
    def initialise(self: Any, *args: Any, **kwargs: Any) -> None:
        if type(self) is not cls:
            return build(self, *args, **kwargs)
        # Copies of lists and dicts, which the caller or the constructor may change
        given = plain_arguments(cls, given_arguments(cls, args, kwargs))
        build(self, *args, **kwargs)
        if unnamed & signature.bind(self, *args, **kwargs).arguments.keys():
            return
        vars(self)["init_args"] = given
        vars(self)["init_structure"] = structure_of(self)

    setattr(cls, "__init__", initialise)  # noqa: B010  # mypy refuses the assignment
    return cls


def describe(instance: object) -> dict[str, Any] | None:
    """Return the class and the arguments of an object, in the form in which a checkpoint names classes.

    Args:
        instance: any object.

    Returns:
        A dict with ``class_path`` and ``init_args``; ``None`` unless the class remembers its arguments, all of them are
        plain data, and the object is what they build.
    """
    arguments = getattr(instance, "init_args", None)
    if not isinstance(arguments, dict) or find_change(instance) is not None:
        return None
    if not is_plain(arguments):
        return None
    return {"class_path": f"{type(instance).__module__}.{type(instance).__qualname__}", "init_args": arguments}


def describe_arguments(task: LightningModule, names: frozenset[str]) -> dict[str, Any]:
    """Return the descriptions of those of a task's arguments that can be described; see :func:`describe`."""
    described = {name: describe(getattr(task, name, None)) for name in names}
    return {name: description for name, description in described.items() if description is not None}


def find_changed_arguments(checkpoint: Mapping[str, Any], task: LightningModule, names: frozenset[str]) -> list[Change]:
    """Return the arguments by which a task computes something else than the one that wrote a checkpoint.

    Args:
        checkpoint: its hyperparameters are compared where both have them, but those of optimisers and schedules.
        task: whose arguments to compare.
        names: of the arguments that are no plain data.

    Returns:
        Each with its value now and in the checkpoint, by dotted names such as ``model.net.init_args.stride``.
    """
    own = {**task.hparams, **describe_arguments(task, names)}
    changes = find_changes(checkpoint.get(HYPERPARAMETERS, {}), own)
    return [change for change in changes if not change.of_optimiser]


def complete(
    checkpoint: dict[str, Any], task: LightningModule, names: frozenset[str], given: frozenset[str], inference: Any
) -> None:
    """Add to a checkpoint what its task was built from and what predictions need, so that the file is enough.

    Args:
        checkpoint: is changed. Its hyperparameters that are not plain data are removed, and weights that a callback has
            exchanged get the record of the coordinates of their layers again.
        task: of the checkpoint.
        names: arguments that are no plain data; those that can be described are added, unless they are there. A network
            that was changed after it was built is not described, with a warning.
        given: those of them that must be given again to load the checkpoint if it does not describe them.
        inference: see :meth:`~lightning_coordconv.core.BaseDataModule.describe`.
    """
    weights = checkpoint["state_dict"]
    if type(weights) is dict:  # without the record of coordinates, as Lightning's WeightAveraging writes it
        checkpoint["state_dict"] = task.state_dict()
        checkpoint["state_dict"].clear()
        checkpoint["state_dict"].update(weights)
    name = f"{type(task).__module__}.{type(task).__qualname__}"
    saved = checkpoint.get(HYPERPARAMETERS, {})
    hyperparameters = {key: value for key, value in plain_arguments(type(task), saved).items() if is_plain(value)}
    for key in names:
        change = find_change(getattr(task, key, None))
        if change is not None:
            hyperparameters.pop(key, None)
            rank_zero_warn(
                f"The checkpoint does not describe the {key}: its module {change!r} was changed after it was built. "
                f"To load the checkpoint, build and change the {key} in the same way, and call load(..., {key}=...)."
            )
        elif (hooked := find_hook(getattr(task, key, None))) is not None:
            rank_zero_warn(
                f"The checkpoint does not hold the forward hooks of the {key}: its module {hooked!r} has some "
                "that it had not when it was built. If they change outputs, a loaded network computes something else."
            )
    known = describe_arguments(task, names - set(hyperparameters))
    if known and type(task).__module__ != "__main__":  # whose classes have another name in any other program
        hyperparameters |= {"_class_path": name, "_instantiator": INSTANTIATOR, **known}
    checkpoint[HYPERPARAMETERS] = hyperparameters
    checkpoint[INFERENCE] = {**to_plain(inference), "task": name, UNDESCRIBED: sorted(given - set(hyperparameters))}
