"""Encoder of Python object graphs as plain data for snapshots, the error of snapshots, functions to inspect objects."""

import collections
import enum
import functools
import logging
import random
import re
import types
from typing import Any, Protocol

import ale_py
import gymnasium as gym
import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec
from stable_baselines3.common.vec_env import VecEnvWrapper

from lightning_coordconv.core.state_codec import encode_state

ATOMS = (type(None), bool, int, float, str)
CONTAINERS = (list, tuple, dict, set, frozenset, collections.deque, collections.OrderedDict, collections.defaultdict)
FIXED = (type, types.ModuleType, types.BuiltinFunctionType, logging.Logger, EnvSpec, re.Pattern, np.dtype, np.ufunc)
"""Objects that no episode changes: they stay those of the environments into which a snapshot is restored."""
GLOBAL_GENERATORS = (np.random.random.__self__, random.random.__self__)  # type: ignore[attr-defined]
GLOBAL_MODULES = (np.random, random)


class NoSnapshotError(TypeError):
    """The state of these environments cannot be saved, or not be restored."""


class Observer(Protocol):
    """Is shown what the encoder meets."""

    def see(self, value: Any, path: str) -> None:
        """Take note of an object."""


class Encoder:
    """Numbers the objects of a graph and encodes each once.

    A value is an atom (``None``, a number, a string) or the tuple ``(index,)`` of an object in :attr:`nodes`.

    Args:
        observer: is shown each object.
    """

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.nodes: list[dict[str, Any]] = []
        self.indices: dict[int, int] = {}
        self.kept: list[Any] = []  # an id is unique only as long as its object lives
        self.unfinished: set[int] = set()
        self.storages: set[int] = set()

    def value(self, value: Any, path: str) -> Any:
        """Return the encoding of a value.

        Args:
            value: any object.
            path: how it is reached, for error messages.

        Raises:
            NoSnapshotError: naming the path, if it cannot be encoded.
        """
        if type(value) in ATOMS:
            return value
        key = id(value)
        if key not in self.indices:
            index = self.indices[key] = len(self.nodes)
            self.kept.append(value)
            self.nodes.append({})
            self.unfinished.add(index)
            self.observer.see(value, path)
            self.nodes[index] = self._node(value, path)
            self.unfinished.remove(index)
        elif self.indices[key] in self.unfinished and isinstance(value, tuple | frozenset):
            raise NoSnapshotError(f"{path}: a {type(value).__name__} that contains itself cannot be saved")
        return (self.indices[key],)

    def _node(self, value: Any, path: str) -> dict[str, Any]:
        kind = type(value)
        if isinstance(value, enum.Enum):
            named = value.name in kind.__members__
            return {"kind": "enum", "class": label(kind), "name": value.name if named else None,
                    "value": None if named else self.value(value.value, path)}  # fmt: skip
        if isinstance(value, np.generic):
            return {"kind": "scalar", "array": encode_state(np.array(self._plain(value, path)))}
        if kind is np.ndarray:
            return self._array(value, path)
        if isinstance(value, np.random.Generator | np.random.BitGenerator | np.random.RandomState | random.Random):
            return self._generator(value, path)
        if isinstance(value, torch.Tensor | torch.Generator):
            return self._tensor(value, path)
        if kind in (bytes, bytearray):
            return {"kind": kind.__name__, "bytes": encode_state(bytes(value))}
        if kind in (complex, range, slice):
            names = {complex: ("real", "imag"), range: ("start", "stop", "step"), slice: ("start", "stop", "step")}
            return {"kind": kind.__name__, "items": [getattr(value, name) for name in names[kind]]}
        if isinstance(value, ale_py.ALEInterface):
            return {"kind": "ale", "state": encode_state(value.cloneState(include_rng=True).serialize())}
        if isinstance(value, gym.Space):
            return {"kind": "space", "label": repr(value), "attributes": self._space(value, path)}
        if kind in (types.FunctionType, types.MethodType, functools.partial) or _is_method(value):
            return self._function(value, path)
        if isinstance(value, FIXED) or _is_descriptor(value):
            if any(value is module for module in GLOBAL_MODULES):
                raise NoSnapshotError(
                    f"{path} is the module {value.__name__}, whose generator is global: use np_random"
                )
            return {"kind": "fixed", "label": label(value)}
        if kind in CONTAINERS or is_python_class(kind):
            return self._object(value, path)
        raise NoSnapshotError(f"{path}: a {label(kind)} cannot be converted to plain data")

    def _object(self, value: Any, path: str) -> dict[str, Any]:
        """Encode an instance of a class that is written in Python, or a container, or both."""
        kind = type(value)
        base = next((base for base in reversed(CONTAINERS) if isinstance(value, base)), None)
        node: dict[str, Any] = {"kind": "object", "class": label(kind), "base": base and base.__name__}
        if isinstance(value, dict):
            pairs = list(dict.items(value))
            node["items"] = [
                (self.value(key, f"{path} key"), self.value(item, f"{path}[{key!r}]")) for key, item in pairs
            ]
        elif base is not None:
            items = list(base.__iter__(value))
            node["items"] = [self.value(item, f"{path}[{i}]") for i, item in enumerate(items)]
        if isinstance(value, collections.deque):
            node["maxlen"] = value.maxlen
        if isinstance(value, collections.defaultdict):
            node["default_factory"] = self.value(value.default_factory, f"{path}.default_factory")
        node["attributes"] = {
            name: self.value(item, f"{kind.__name__}.{name}") for name, item in attributes(value).items()
        }
        return node

    def _array(self, array: Any, path: str) -> dict[str, Any]:
        """Encode an array as a view of the memory that it, and maybe others, lie in."""
        self._plain(array, path)
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        sole = isinstance(owner.base, bytes | torch.Tensor) or type(owner.base).__name__ == "PyCapsule"
        if owner.base is not None and not sole:
            raise NoSnapshotError(
                f"{path}: an array that shares memory with a {label(type(owner.base))} cannot be saved"
            )
        memory = owner.transpose(np.argsort([-stride for stride in owner.strides], kind="stable"))
        if not memory.flags.c_contiguous:
            raise NoSnapshotError(f"{path}: an array with gaps in its memory cannot be saved")
        key = -id(owner)  # of the memory, beside the key of the array
        if key not in self.indices:
            if isinstance(owner.base, torch.Tensor):
                self._claim(owner.base, path)
            self.indices[key] = len(self.nodes)
            self.kept.append(owner)
            flat = memory.reshape(-1).view(np.uint8) if owner.size else np.zeros(0, np.uint8)
            self.nodes.append({"kind": "memory", "bytes": torch.from_numpy(flat.copy())})
        start, address = (a.__array_interface__["data"][0] for a in (owner, array))
        return {
            "kind": "array",
            "memory": (self.indices[key],),
            "offset": address - start if array.size else 0,
            "shape": tuple(array.shape),
            "strides": tuple(array.strides),
            "dtype": array.dtype.str,
            "writeable": bool(array.flags.writeable),
        }

    def _plain(self, array: Any, path: str) -> Any:
        if array.dtype.hasobject or array.dtype.names:
            raise NoSnapshotError(f"{path}: an array of {array.dtype} cannot be converted to plain data")
        return array

    def _generator(self, value: Any, path: str) -> dict[str, Any]:
        if any(value is generator for generator in GLOBAL_GENERATORS):
            raise NoSnapshotError(f"{path} is a global random generator: use np_random")
        if type(value) is np.random.Generator:
            return {"kind": "generator", "bits": self.value(value.bit_generator, path)}
        if isinstance(value, np.random.BitGenerator):
            return {"kind": "bits", "state": encode_state(value.state)}
        if type(value) is np.random.RandomState:
            return {"kind": "random_state", "state": encode_state(value.get_state(legacy=False))}
        if type(value) is random.Random:
            version, words, gauss = value.getstate()
            return {"kind": "random", "state": (version, torch.tensor(words), gauss)}
        raise NoSnapshotError(f"{path}: a {label(type(value))} cannot be converted to plain data")

    def _tensor(self, value: Any, path: str) -> dict[str, Any]:
        if type(value) is torch.Generator and value.device.type == "cpu" and value is not torch.default_generator:
            return {"kind": "torch_generator", "state": value.get_state()}
        if type(value) is torch.Tensor and value.device.type == "cpu" and not value.requires_grad:
            self._claim(value, path)
            return {"kind": "tensor", "tensor": value.clone()}
        raise NoSnapshotError(f"{path}: a {label(type(value))} of {value.device} cannot be converted to plain data")

    def _claim(self, tensor: torch.Tensor, path: str) -> None:
        """Refuse memory of a tensor that something else in the graph uses too."""
        storage = tensor.untyped_storage().data_ptr()
        if storage and storage in self.storages:
            raise NoSnapshotError(f"{path}: tensors that share memory cannot be saved")
        self.storages.add(storage)

    def _space(self, space: Any, path: str) -> dict[str, Any]:
        """Encode the random generators of a space and of those in it; the rest of a space never changes."""
        changing = (np.random.Generator, gym.Space, dict, tuple)
        return {
            name: self.value(item, f"{path}.{name}") for name, item in vars(space).items() if isinstance(item, changing)
        }

    def _function(self, value: Any, path: str) -> dict[str, Any]:
        if isinstance(value, functools.partial):
            parts = (value.func, value.args, value.keywords)
            return {"kind": "partial", "items": [self.value(part, f"{path} argument") for part in parts]}
        if not isinstance(value, types.FunctionType):
            return {"kind": "method", "self": self.value(value.__self__, f"{path}.__self__"), "name": value.__name__}
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        closure = [
            self.value(cell, f"{path}.{name}") for name, cell in zip(value.__code__.co_freevars, cells, strict=True)
        ]
        defaults = self.value(value.__defaults__, f"{path} default")
        return {"kind": "function", "label": label(value), "closure": closure, "defaults": defaults}


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
    """Whether instances have no state but attributes, slots and, if it derives from one, the items of a container.

    The members of classes that extensions define are descriptors in C.
    """
    in_c = (types.MethodDescriptorType, types.WrapperDescriptorType, types.GetSetDescriptorType)
    return (
        all(
            base in CONTAINERS
            or not any(
                (isinstance(member, types.BuiltinFunctionType) and name == "__new__")
                or (
                    isinstance(member, in_c) and member.__objclass__ is base and name not in ("__dict__", "__weakref__")
                )
                for name, member in vars(base).items()
            )
            for base in kind.__mro__[:-1]
        )
        and kind is not object
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


def _is_method(value: Any) -> bool:
    """Whether a value is a method, in C, of an object that is not a module."""
    return isinstance(value, types.BuiltinMethodType) and not isinstance(value.__self__, types.ModuleType | None)


def _is_descriptor(value: Any) -> bool:
    return isinstance(
        value, property | classmethod | staticmethod | types.MethodDescriptorType | types.WrapperDescriptorType
    )
