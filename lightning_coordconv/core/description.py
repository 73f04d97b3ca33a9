"""Decorator that records constructor arguments, and functions that describe an object for a checkpoint."""

import functools
import inspect
from typing import Any, TypeVar

from torch import nn

from lightning_coordconv.core.hyperparameters import UntrustedCheckpointError, check_plain

InstanceT = TypeVar("InstanceT")
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
"""Classes that Lightning exchanges in a run on several devices."""
FREE = frozenset({"training", "momentum", "inplace"})
"""Attributes of torch's modules that change nothing that a trained network computes."""


def remember_arguments(cls: type[InstanceT]) -> type[InstanceT]:
    """Make a class keep the arguments of each instance in ``init_args``; a decorator.

    Instances of subclasses have no ``init_args``: their arguments are others.

    Args:
        cls: a class with a constructor.
    """
    build: Any = vars(cls)["__init__"]

    @functools.wraps(build)
    def initialise(self: Any, *args: Any, **kwargs: Any) -> None:
        build(self, *args, **kwargs)
        if type(self) is cls:
            arguments = inspect.signature(build).bind(self, *args, **kwargs).arguments
            vars(self)["init_args"] = dict(list(arguments.items())[1:])
            vars(self)["init_structure"] = _structure(self)

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
    try:
        check_plain(arguments, "init_args")
    except UntrustedCheckpointError:
        return None
    return {"class_path": f"{type(instance).__module__}.{type(instance).__qualname__}", "init_args": arguments}


def find_change(instance: object) -> str | None:
    """Return the name of a module of a network that is not what the arguments of the network build.

    Compared are the classes of modules and their public attributes that are numbers, texts or tuples of them, such as a
    stride; not the weights, which a checkpoint holds.

    Args:
        instance: any object; if its class does not remember arguments, no change is known.

    Returns:
        The name of the first one, ``""`` for the network itself; ``None`` if all are as they were built.
    """
    built = getattr(instance, "init_structure", None)
    if not isinstance(built, dict):
        return None
    now = _structure(instance)
    return next((name for name in {**built, **now} if built.get(name) != now.get(name)), None)


def _structure(instance: object) -> dict[str, tuple[object, dict[str, Any]]]:
    """Return the class of each module of a network, and its plain attributes, by the name of the module."""
    found: dict[str, tuple[object, dict[str, Any]]] = {}
    for name, module in instance.named_modules() if isinstance(instance, nn.Module) else ():
        kind = "batch norm" if type(module) in BATCH_NORMS else f"{type(module).__module__}.{type(module).__qualname__}"
        values = {key: value for key, value in vars(module).items() if key not in FREE and not key.startswith("_")}
        found[name] = kind, {key: value for key, value in values.items() if _is_plain(value)}
    return found


def _is_plain(value: object) -> bool:
    return isinstance(value, bool | int | float | str) or (isinstance(value, tuple) and all(map(_is_plain, value)))
