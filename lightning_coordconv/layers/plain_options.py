"""Functions that find the options of an encoding among its attributes: plain values, whatever library they are of."""

from numbers import Integral, Real

from torch import nn


def plain_options(module: nn.Module) -> dict[str, object]:
    """Return the public attributes of a module that are numbers or texts, or lists, tuples or dicts of such."""
    options: dict[str, object] = {}
    for name, value in vars(module).items():
        if name[0] != "_" and name != "training" and value is not None:
            try:
                options[name] = _as_plain(value)
            except TypeError:  # such as a tensor, or a list of them
                continue
    return options


def _as_plain(value: object) -> object:
    """Return numbers, texts and None as Python's, lists as tuples, so that equal options have equal texts.

    Raises:
        TypeError: If the value is anything else, or holds it.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral | Real):
        return int(value) if isinstance(value, Integral) else float(value)
    if isinstance(value, list | tuple):
        return tuple(map(_as_plain, value))
    if isinstance(value, dict):
        return {_as_plain(key): _as_plain(part) for key, part in value.items()}
    raise TypeError
