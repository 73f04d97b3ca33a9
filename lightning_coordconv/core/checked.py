"""Base class and functions that check constructor arguments by their annotations."""

import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Literal, Self, get_args, get_origin, is_typeddict

import numpy as np
from torch import nn

from lightning_coordconv.core.hyperparameters import annotation_of, members_of

SIMPLE: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    bool: ("True or False", lambda value: isinstance(value, bool | np.bool_)),
    int: ("an integer", lambda value: isinstance(value, Integral) and not isinstance(value, bool)),
    float: ("a number", lambda value: isinstance(value, Real) and not isinstance(value, bool)),
    str: ("a text", lambda value: isinstance(value, str | os.PathLike)),
    dict: ("a dict", lambda value: isinstance(value, Mapping)),
    Callable: ("a function or a class", callable),
    nn.Module: ("a torch.nn.Module", lambda value: isinstance(value, nn.Module)),
    type(None): ("None", lambda value: value is None),
}
"""What a value of each simple type is called, and whether a value is one. Booleans are no numbers."""


class CheckedArguments:
    """A class whose constructor refuses a value of another type than its annotation, as ``"no"`` for False.

    The command line checks types as it parses; this is the same check for Python and for checkpoints. A subclass needs
    nothing but annotations. It is in ``__new__`` because Lightning finds hyperparameters in the frames of ``__init__``,
    and its documentation and the command line read the signature of ``__init__``.

    Raises:
        ValueError: naming the first argument of a wrong type, what is allowed, and the value.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Check the arguments of the constructor."""
        check_types(cls, given_arguments(cls, args, kwargs))
        return super().__new__(cls)

    def __getnewargs__(self) -> tuple[()]:
        """Copies and pickles have nothing to check: torchmetrics would pass on the letters of a metric's name."""
        return ()


def given_arguments(kind: type, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that a constructor is called with, by name.

    Args:
        kind: the class.
        args: the arguments by position.
        kwargs: the arguments by name.
    """
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [each.name for each in parameters_of(kind) if each.kind in by_position]
    return {**dict(zip(names, args, strict=False)), **kwargs}


@functools.cache
def parameters_of(kind: type) -> list[inspect.Parameter]:
    """Return the parameters of a constructor, without ``self``."""
    return list(inspect.signature(kind.__init__).parameters.values())[1:]  # type: ignore[misc]  # of this class


def check_types(function: Callable[..., Any], arguments: Mapping[str, Any], prefix: str = "") -> None:
    """Check the arguments whose annotation allows a type in ``SIMPLE``.

    Args:
        function: a class or a function.
        arguments: by the names of its parameters.
        prefix: of the names, in the error.

    Raises:
        ValueError: naming the first argument of a wrong type, what is allowed, and the value.
    """
    for name, value in arguments.items():
        check_type(f"{prefix}{name}", value, _allowed(function, name))


def check_type(name: str, value: object, allowed: tuple[Any, ...]) -> None:
    """Check a value that may be of a type in ``SIMPLE``, among others; see :func:`check_types`.

    Args:
        name: of the value, in the error.
        value: is not checked if it may be none of them.
        allowed: types, and values of a ``Literal``.
    """
    kinds = [_simple(kind) for kind in allowed]
    if not (SIMPLE.keys() - {type(None)}) & set(kinds):
        return
    words, known = [], True
    for kind in kinds:
        if get_origin(kind) is Literal:
            words += [repr(choice) for choice in get_args(kind)]
            if value in get_args(kind):
                return
        elif kind in SIMPLE:
            word, holds = SIMPLE[kind]
            words.append(word)
            if holds(value):
                return
        else:  # a list: other values are checked where they are used
            words.append(str(getattr(kind, "__name__", kind)))
            known = False
    if known or any(holds(value) for _, holds in SIMPLE.values()):
        raise ValueError(f"{name} must be {' or '.join(words)}, got {value!r:.100}")


def _simple(kind: Any) -> Any:
    """Return the type in ``SIMPLE`` that stands for a type with arguments; others as they are."""
    if is_typeddict(kind) or get_origin(kind) in (dict, Mapping):
        return dict
    return Callable if get_origin(kind) is Callable else kind


@functools.cache
def _allowed(function: Callable[..., Any], name: str) -> tuple[Any, ...]:
    return tuple(members_of(annotation_of(function, name)))
