"""Functions that look at objects of Python: their names, attributes and slots, and whether they have parts in C."""

import collections
import re
import types
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec
from stable_baselines3.common.vec_env import VecEnvWrapper

CAPSULE = "PyCapsule"
"""The class, which has no name in Python, of C memory."""
CONTAINERS = (list, tuple, dict, set, frozenset, collections.deque, collections.OrderedDict, collections.defaultdict)


def label(value: Any) -> str:
    """Return what identifies a class, a module, a function or another object that no episode changes."""
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, types.FunctionType):
        return f"{value.__module__}.{value.__qualname__}:{value.__code__.co_firstlineno}"
    if isinstance(value, np.dtype | re.Pattern):
        return repr(value)
    name = getattr(value, "id" if isinstance(value, EnvSpec) else "__name__", getattr(value, "name", ""))
    return f"{label(type(value))} {name}"


def is_python_class(kind: type) -> bool:
    """Whether instances have no state but attributes, slots and, if it derives from one, the items of a container."""
    return all(base in CONTAINERS or is_written_in_python(base) for base in kind.__mro__[:-1]) and kind is not object


def is_written_in_python(kind: type) -> bool:
    """Whether a class itself is, whatever it derives from: the members of those in extensions are descriptors in C."""
    in_c = (types.MethodDescriptorType, types.WrapperDescriptorType, types.GetSetDescriptorType)
    return not any(
        (isinstance(member, types.BuiltinFunctionType) and name == "__new__")
        or (isinstance(member, in_c) and member.__objclass__ is kind and name not in ("__dict__", "__weakref__"))
        for name, member in vars(kind).items()
    )


def attributes(value: Any) -> dict[str, Any]:
    """Return the attributes of an object, those in slots too, whatever properties and ``__getattr__`` it has."""
    found = dict(object.__getattribute__(value, "__dict__")) if _has_dict(value) else {}
    for name, slot in slots(type(value)).items():
        try:
            found[name] = slot.__get__(value)
        except AttributeError:
            continue
    if isinstance(value, VecEnvWrapper):
        found.pop("class_attributes", None)  # a list of the members of its class
    return found


def slots(kind: type) -> dict[str, Any]:
    """Return the descriptors of a class's slots."""
    bases = (base for base in kind.__mro__ if base not in CONTAINERS)
    return {name: slot for base in bases for name, slot in vars(base).items()
            if isinstance(slot, types.MemberDescriptorType)}  # fmt: skip


def _has_dict(value: Any) -> bool:
    try:
        object.__getattribute__(value, "__dict__")
    except AttributeError:
        return False
    return True


def is_method(value: Any) -> bool:
    """Whether a value is a method, in C, of an object: not of a module or class, nor of a capsule of pybind11."""
    if not isinstance(value, types.BuiltinMethodType):
        return False
    return not (isinstance(value.__self__, types.ModuleType | type | None) or type(value.__self__).__name__ == CAPSULE)


def is_descriptor(value: Any) -> bool:
    """Whether a value is a descriptor of Python itself, as a property or a method of a class in C."""
    return isinstance(
        value, property | classmethod | staticmethod | types.MethodDescriptorType | types.WrapperDescriptorType
    )
