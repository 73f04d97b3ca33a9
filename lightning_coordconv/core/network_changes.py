"""Functions that describe a network's structure, and find modules that were changed or hooked since it was built."""

from typing import Any, NamedTuple

from torch import nn

from lightning_coordconv.core._lightning import is_hooked

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
"""Classes that Lightning exchanges in a run on several devices."""
FREE = frozenset({"training", "momentum", "inplace", "init_args", "init_structure"})
"""Attributes that change nothing that a trained network computes: torch's, and those that remember how it was built."""
_OTHER = object()
"""Stands for a value that is not plain."""


class Structure(NamedTuple):
    """Class and plain attributes of a module, and whether it has hooks that see its inputs or outputs."""

    kind: str
    values: dict[str, Any]
    hooked: bool


def find_change(instance: object) -> str | None:
    """Return the name of a module of a network that is not what the arguments of the network build.

    Compared are the classes of modules and their public attributes that are numbers, texts, or tuples, lists or dicts
    of them, such as a stride, and whether a module has a ``forward`` that its class has not; not the weights, which a
    checkpoint holds, other objects, and hooks, for which see :func:`find_hook`.

    Args:
        instance: any object; if its class does not remember arguments, no change is known.

    Returns:
        The name of the first one, ``""`` for the network itself; ``None`` if all are as they were built.
    """
    built = getattr(instance, "init_structure", None)
    if not isinstance(built, dict):
        return None
    now = structure_of(instance)
    return next((name for name in {**built, **now} if _is_changed(built.get(name), now.get(name))), None)


def find_hook(instance: object) -> str | None:
    """Return the name of a module of a network that has forward hooks, and had none when the network was built.

    Args:
        instance: as of :func:`find_change`.

    Returns:
        The name of the first one, ``""`` for the network itself; ``None`` if there is none.
    """
    built = getattr(instance, "init_structure", None)
    if not isinstance(built, dict):
        return None
    hooked = (name for name, structure in structure_of(instance).items() if structure.hooked)
    return next((name for name in hooked if name not in built or not built[name].hooked), None)


def _is_changed(built: Structure | None, now: Structure | None) -> bool:
    """Tell whether a module has another class or other values; those that it sets in its first pass do not count."""
    if built is None or now is None or built.kind != now.kind:
        return True
    return any(now.values.get(key, _OTHER) != value for key, value in built.values.items())


def structure_of(instance: object) -> dict[str, Structure]:
    """Return the class of each module of a network, and its plain attributes, by the name of the module."""
    found: dict[str, Structure] = {}
    for name, module in instance.named_modules() if isinstance(instance, nn.Module) else ():
        kind = "batch norm" if type(module) in BATCH_NORMS else f"{type(module).__module__}.{type(module).__qualname__}"
        kind += " with another forward" if "forward" in vars(module) else ""
        public = [key for key in vars(module) if key not in FREE and not key.startswith("_")]
        values = {key: _fixed(getattr(module, key)) for key in public}
        plain = {key: value for key, value in values.items() if value is not _OTHER}
        found[name] = Structure(kind, plain, is_hooked(module))
    return found


def _fixed(value: object) -> object:
    """Return a plain value with tuples in place of lists and dicts, which could be changed later; or ``_OTHER``."""
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        value = tuple(value.items())
    if not isinstance(value, tuple | list) or not value:  # an empty one is filled by passes
        return _OTHER
    fixed = tuple(map(_fixed, value))
    return _OTHER if _OTHER in fixed else fixed
