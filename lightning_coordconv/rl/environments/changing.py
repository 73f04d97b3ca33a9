"""Functions that tell which values can hold state that changes, and which modules are of the environments' own code."""

import collections
import datetime
import decimal
import enum
import functools
import operator
import pathlib
import random
import struct
import sys
import types
from typing import Any

import numpy as np
import torch

from lightning_coordconv.rl.environments.object_encoder import ATOMS, FIXED
from lightning_coordconv.rl.environments.object_parts import is_method

FRAMEWORKS = {"gymnasium", "stable_baselines3", "numpy", "torch", "ale_py", "lightning_coordconv", "minatar"}
"""Packages without such state."""
KEEPING = (list, dict, set, bytearray, collections.deque, np.ndarray, np.random.Generator, np.random.RandomState,
           random.Random, torch.Generator, torch.Tensor)  # fmt: skip
"""What usually has state that changes: all that is saved of modules of others, beside objects of their classes."""
UNCHANGING = (*FIXED, enum.Enum, torch.dtype, torch.device, datetime.date, datetime.time, datetime.timedelta,
              datetime.tzinfo, decimal.Decimal, types.EllipsisType, types.GenericAlias, types.UnionType, struct.Struct,
              operator.itemgetter, operator.attrgetter, operator.methodcaller)  # fmt: skip
"""Of these a variable that no code sets is always the same."""
BOUND = (types.MethodType, functools.partial, functools.partialmethod)
"""Callables that hold objects."""


def package_of(module: str | None) -> str:
    """Return the package that a module, by its name, is in."""
    return (module or "").partition(".")[0]


def is_framework(module: str | None) -> bool:
    """Whether a module, by its name, has no state of environments: those of Python and of :data:`FRAMEWORKS`."""
    return package_of(module) in FRAMEWORKS or (package_of(module) in sys.stdlib_module_names and module != "__main__")


@functools.cache
def is_installed(module: str) -> bool:
    """Whether a module is in a folder of installed packages."""
    path = getattr(sys.modules.get(module), "__file__", None) or ""
    return not {"site-packages", "dist-packages"}.isdisjoint(pathlib.PurePath(path).parts)


def can_change(value: Any) -> bool:
    """Whether a variable that no code sets can hold another state later; what is not known may."""
    return is_method(value) or not (
        type(value) in ATOMS
        or isinstance(value, UNCHANGING)
        or type(value).__module__ == "typing"
        or is_descriptor_of_others(value)
    )


def usually_changes(value: Any) -> bool:
    """Whether a value is of a class whose objects change in most code."""
    return isinstance(value, KEEPING) or not (is_framework(type(value).__module__) or isinstance(value, enum.Enum))


def is_descriptor_of_others(value: Any) -> bool:
    """Whether a value is a function or another descriptor of Python or C, but none that holds objects."""
    return hasattr(value, "__get__") and not isinstance(value, BOUND) and is_framework(type(value).__module__)
