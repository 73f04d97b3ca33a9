"""Functions that make plain data of arguments for a checkpoint, and build objects of allowed classes from them."""

import enum
import importlib
import inspect
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import PurePath
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from torch import nn

from lightning_coordconv.core.plain_data import UntrustedCheckpointError, is_plain, shown, to_plain

IMPORTABLE = ("lightning_coordconv.", "torch.nn.", "torch.optim.", "torchvision.", "stable_baselines3.", "gymnasium.")
"""Packages that a name in a checkpoint may import. Any other module must have been imported by the caller before."""
SPECIFICATION = frozenset({"class_path", "init_args", "dict_kwargs"})


def resolve_class(name: str | type, base: type | tuple[type, ...], key: str) -> type:
    """Return the class that a hyperparameter names, if it is a subclass of what is expected there.

    A module that was not imported before is imported only if it belongs to one of the :data:`IMPORTABLE` packages.
    Nothing is called.

    Args:
        name: a dotted name such as ``"torch.optim.Adam"``, or the class itself.
        base: the class, or one of the classes, that the result must be a subclass of.
        key: the hyperparameter, as error messages name it.

    Raises:
        UntrustedCheckpointError: if the module may not be imported, there is no such class, or it is no subclass of
            ``base``.
    """
    found = _find(name, key) if isinstance(name, str) else name
    if isinstance(found, type) and issubclass(found, base):
        return found
    raise UntrustedCheckpointError(f"{key} names {shown(name)}, which is not a subclass of {_names(base)}")


def build_arguments(function: Callable[..., Any], arguments: Mapping[str, Any], key: str = "") -> dict[str, Any]:
    """Return arguments in which every class specification has become what it describes.

    A specification is a dict with ``class_path`` and, if need be, ``init_args`` and ``dict_kwargs``. It becomes an
    instance where the parameter is annotated with a class, and a function that returns instances where it is annotated
    with a ``Callable`` whose result is a class. Lists become tuples, and names members of enumerations, where the
    annotation says so.

    Args:
        function: what the arguments are for: a class, or a function.
        arguments: plain data, by parameter name.
        key: where the arguments stand, as error messages name it.

    Raises:
        UntrustedCheckpointError: if a class is not a subclass of what its parameter is annotated with.
    """
    built = {}
    for name, value in arguments.items():
        where = f"{key}.{name}" if key else name
        built[name] = _build(value, annotation_of(function, name), where)
    return built


def plain_arguments(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of arguments as plain data of which :func:`build_arguments` makes them again.

    What is no plain data is returned as it is. Members of enumerations become their names where the annotation says so,
    as the command line writes them too, and the values that they equal elsewhere.

    Args:
        function: what the arguments are for: a class, or a function.
        arguments: by parameter name.
    """
    return {
        name: to_plain(_with_names(value, annotation_of(function, name))) if is_plain(value) else value
        for name, value in arguments.items()
    }


def _with_names(value: Any, annotation: Any) -> Any:
    """Return plain data with names in place of those members of enumerations that an annotation makes of them."""
    alternatives = list(members_of(annotation))
    if isinstance(value, enum.Enum):
        return value.name if _member(value.name, alternatives) is value else value
    if isinstance(value, Mapping):
        inner = _inner(alternatives, Mapping, 1)
        return {name: _with_names(entry, inner) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        inner = _inner(alternatives, Iterable, 0)
        return (tuple if isinstance(value, tuple) else list)(_with_names(entry, inner) for entry in value)
    return value


def _build(value: Any, annotation: Any, key: str) -> Any:
    """Return a value with its specifications built, as far as the annotation allows."""
    alternatives = list(members_of(annotation))
    if isinstance(value, Mapping) and "class_path" in value:
        return _instantiate(value, alternatives, key)
    if isinstance(value, str):
        return _from_name(value, alternatives, key)
    if isinstance(value, Mapping):
        inner = _inner(alternatives, Mapping, 1)
        return {name: _build(entry, inner, f"{key}.{name}") for name, entry in value.items()}
    if isinstance(value, list | tuple):
        inner = _inner(alternatives, Iterable, 0)
        entries = [_build(entry, inner, f"{key}.{index}") for index, entry in enumerate(value)]
        origins = {get_origin(kind) or kind for kind in alternatives}
        return tuple(entries) if isinstance(value, tuple) or (tuple in origins and list not in origins) else entries
    return value


def _from_name(value: str, alternatives: list[Any], key: str) -> Any:
    """Return what a string stands for: itself, unless the annotation excludes strings and expects a class."""
    member = _member(value, alternatives)
    if member is not None:
        return member
    if str in alternatives or Any in alternatives:
        return value
    for kind in alternatives:
        if isinstance(kind, type) and issubclass(kind, PurePath):
            return kind(value)
        if get_origin(kind) is type:
            return resolve_class(value, _classes(get_args(kind)[0]) or (nn.Module,), key)
    if any(get_origin(kind) is Literal for kind in alternatives):
        return value
    if any(_is_callable(kind) or kind in _classes(kind) for kind in alternatives):
        return _instantiate({"class_path": value}, alternatives, key)
    return value


def _member(name: str, alternatives: list[Any]) -> enum.Enum | None:
    """Return the member of an enumeration that a name stands for, unless any string is allowed before it."""
    for kind in alternatives:
        if kind is str or kind is Any:
            return None
        if isinstance(kind, type) and issubclass(kind, enum.Enum) and name in kind.__members__:
            return kind[name]
    return None


def _instantiate(specification: Mapping[str, Any], alternatives: list[Any], key: str) -> Any:
    """Return the instance, or the function that returns instances, that a specification describes."""
    name, unknown = specification["class_path"], specification.keys() - SPECIFICATION
    if not isinstance(name, str) or unknown:
        raise UntrustedCheckpointError(f"{key} is no class specification: {shown(dict(specification))}")
    instances = tuple(base for kind in alternatives for base in _classes(kind))
    results = tuple(base for kind in alternatives if _is_callable(kind) for base in _classes(get_args(kind)[-1]))
    if Any in alternatives:
        instances = (nn.Module,)
    if not instances + results:
        raise UntrustedCheckpointError(f"{key} names {shown(name)}, and its parameter is not declared to be a class")
    found = _find(name, key)
    produced = found if isinstance(found, type) else _result(found)
    if not (isinstance(produced, type) and issubclass(produced, instances + results)):
        raise UntrustedCheckpointError(
            f"{key} names {shown(name)}, which is not a subclass of {_names(instances + results)}"
        )
    given: dict[str, Any] = {}
    for part in ("init_args", "dict_kwargs"):
        arguments = specification.get(part) or {}
        if not isinstance(arguments, Mapping):
            raise UntrustedCheckpointError(f"{key}.{part} must be a dict, got {shown(arguments)}")
        given |= build_arguments(found, arguments, f"{key}.{part}")
    if given.get("pretrained") and not found.__module__.startswith("torchvision."):
        given["pretrained"] = False  # a flag of timm and others; see :mod:`offline` for torchvision
    if not issubclass(produced, instances):
        return partial(found, **given)
    try:
        return found(**given)
    except UntrustedCheckpointError as error:
        raise UntrustedCheckpointError(f"{key} names {shown(name)}: {error}") from error
    except Exception as error:
        raise ValueError(f"{key}: {name} could not be built: {error}") from error


def _find(name: str, key: str) -> Any:
    """Return what a dotted name stands for, importing nothing but modules of :data:`IMPORTABLE` packages."""
    parts = name.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise UntrustedCheckpointError(f"{key} names {shown(name)}, which is not the dotted name of a class")
    for length in range(len(parts) - 1, 0, -1):
        found: Any = _module(".".join(parts[:length]))
        if found is not None:
            break
    else:
        raise UntrustedCheckpointError(
            f"{key} names {shown(name)}, whose module was not imported before: import it first if you trust it"
        )
    for part in parts[length:]:
        found = getattr(found, part, None)
        if found is None or isinstance(found, types.ModuleType):  # torch.os is os
            raise UntrustedCheckpointError(f"{key} names {shown(name)}, and there is no such class")
    return found


def _module(name: str) -> types.ModuleType | None:
    """Return a module that was imported before or may be imported; private ones, as ``__main__``, may not."""
    private = any(part.startswith("_") for part in name.split("."))
    if name in sys.modules or private or not f"{name}.".startswith(IMPORTABLE):
        return sys.modules.get(name)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            return None
        raise  # an optional package is missing


def _result(function: Any) -> Any:
    """Return the class that a model builder, such as ``torchvision.models.resnet18``, is annotated to return.

    Functions of other packages are no builders: some load files, or build whatever a file names.
    """
    if not isinstance(function, types.FunctionType) or not function.__module__.startswith("torchvision.models."):
        return None
    classes = _classes(annotation_of(function, "return"))
    return classes[0] if len(classes) == 1 else None


def accepts(kind: type, name: str) -> bool:
    """Tell whether a constructor takes an argument, also one that it hands on to its bases through ``**kwargs``."""
    return any(each.name == name for each in _parameters(kind))


def defaults_of(kind: type) -> dict[str, Any]:
    """Return the defaults of a constructor's arguments, also of those that it hands on, that are plain data or classes.

    They are in the form in which a checkpoint has arguments; see :func:`plain_arguments`.
    """
    parameters = reversed(list(_parameters(kind)))  # of a name that a base has too, that of the class counts
    values = plain_arguments(kind, {each.name: each.default for each in parameters if each.default is not each.empty})
    return {name: value for name, value in values.items() if is_plain(value) or isinstance(value, type)}


def _parameters(kind: type) -> Iterator[inspect.Parameter]:
    """Yield the parameters of a constructor, and those of its bases as far as it hands arguments on to them."""
    for owner in kind.__mro__:
        constructor = vars(owner).get("__init__")
        if isinstance(constructor, types.FunctionType):
            parameters = list(inspect.signature(constructor).parameters.values())[1:]
            yield from (each for each in parameters if each.kind is not each.VAR_KEYWORD)
            if not any(each.kind is each.VAR_KEYWORD for each in parameters):
                return


def annotation_of(function: Callable[..., Any], name: str) -> Any:
    """Return what a parameter is annotated with: ``Any`` where nothing is known.

    A parameter that a class hands on to its bases through ``**kwargs`` is looked up there.
    """
    owners = [vars(owner).get("__init__") for owner in function.__mro__] if isinstance(function, type) else [function]
    for owner in owners:
        if isinstance(owner, types.FunctionType) and (name == "return" or name in inspect.signature(owner).parameters):
            annotation = owner.__annotations__.get(name, Any)
            if isinstance(annotation, str):
                try:
                    annotation = get_type_hints(owner, include_extras=True)[name]
                except (NameError, TypeError, AttributeError):  # names that only type checkers import
                    return Any
            return annotation
    return Any


def members_of(annotation: Any) -> Iterator[Any]:
    """Yield the members of unions."""
    if get_origin(annotation) in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from members_of(member)
    elif get_origin(annotation) is Annotated:
        yield from members_of(get_args(annotation)[0])
    elif isinstance(annotation, TypeVar):
        yield from members_of(annotation.__bound__ or Any)
    else:
        yield Any if annotation is inspect.Parameter.empty else annotation


def _classes(annotation: Any) -> tuple[type, ...]:
    """Return the classes of an annotation whose instances a specification may describe; builtins are none of them."""
    kinds = [kind for kind in members_of(annotation) if isinstance(kind, type) and get_origin(kind) is None]
    return tuple(kind for kind in kinds if kind.__module__ != "builtins" and not issubclass(kind, enum.Enum | PurePath))


def _is_callable(annotation: Any) -> bool:
    """Tell whether an annotation is a ``Callable`` with parameters and a result."""
    return get_origin(annotation) is Callable and bool(get_args(annotation))


def _inner(alternatives: list[Any], base: type, place: int) -> Any:
    """Return an argument of the first generic of a kind of collection, such as ``list[int]``; ``Any`` without one."""
    origins = ((kind, get_origin(kind)) for kind in alternatives)
    generics = [get_args(kind) for kind, origin in origins if isinstance(origin, type) and issubclass(origin, base)]
    return next((inner[place] for inner in generics if len(inner) > place), Any)


def _names(base: type | tuple[type, ...]) -> str:
    bases = base if isinstance(base, tuple) else (base,)
    return " or ".join(dict.fromkeys(f"{kind.__module__}.{kind.__qualname__}" for kind in bases))
