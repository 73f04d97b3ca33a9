"""A class decorator that keeps constructor arguments, and a function that describes an object for a checkpoint."""

import functools
import inspect
from typing import Any, TypeVar

from lightning_coordconv.core.hyperparameters import UntrustedCheckpointError, check_plain

InstanceT = TypeVar("InstanceT")


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

    setattr(cls, "__init__", initialise)  # noqa: B010  # mypy refuses the assignment
    return cls


def describe(instance: object) -> dict[str, Any] | None:
    """Return the class and the arguments of an object, in the form in which a checkpoint names classes.

    Args:
        instance: any object.

    Returns:
        A dict with ``class_path`` and ``init_args``; ``None`` unless the class remembers its arguments and all of them
        are plain data.
    """
    arguments = getattr(instance, "init_args", None)
    if not isinstance(arguments, dict):
        return None
    try:
        check_plain(arguments, "init_args")
    except UntrustedCheckpointError:
        return None
    return {"class_path": f"{type(instance).__module__}.{type(instance).__qualname__}", "init_args": arguments}
