"""Encoder of Python object graphs as plain data for snapshots, and the error of snapshots."""

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

from lightning_coordconv.core.state_codec import encode_state
from lightning_coordconv.rl.environments.object_parts import (
    CAPSULE,
    CONTAINERS,
    attributes,
    is_descriptor,
    is_method,
    is_python_class,
    label,
)

ATOMS = (type(None), bool, int, float, str)
FIXED = (type, types.ModuleType, types.BuiltinFunctionType, logging.Logger, EnvSpec, re.Pattern, np.dtype, np.ufunc)
"""Objects that no episode changes: they stay those of the environments into which a snapshot is restored."""
GLOBAL_GENERATORS = (np.random.random.__self__, random.random.__self__, torch.default_generator)  # type: ignore[attr-defined]
GENERATORS = (np.random.Generator, np.random.BitGenerator, np.random.RandomState, np.random.SeedSequence, random.Random)
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
            try:
                self.observer.see(value, path)
                self.nodes[index] = self._node(value, path)
            except NoSnapshotError:
                raise
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                reason = f"{type(error).__name__}: {error}"
                raise NoSnapshotError(
                    f"{path}: a {label(type(value))} cannot be converted to plain data: {reason}"
                ) from error
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
            return self._scalar(value, path)
        if kind is np.ndarray:
            return self._array(value, path)
        if isinstance(value, GENERATORS):
            return self._generator(value, path)
        if isinstance(value, torch.Tensor | torch.Generator):
            return self._tensor(value, path)
        if kind in (bytes, bytearray):
            return {"kind": kind.__name__, "bytes": encode_state(bytes(value))}
        if kind in (complex, range, slice):
            names = {complex: ("real", "imag"), range: ("start", "stop", "step"), slice: ("start", "stop", "step")}
            return {"kind": kind.__name__, "items": [self.value(getattr(value, name), path) for name in names[kind]]}
        if isinstance(value, ale_py.ALEInterface):
            return {"kind": "ale", "state": encode_state(value.cloneState(include_rng=True).serialize())}
        if isinstance(value, gym.Space):
            return {"kind": "space", "label": repr(value), "attributes": self._space(value, path)}
        if kind in (types.FunctionType, types.MethodType, functools.partial) or is_method(value):
            return self._function(value, path)
        if isinstance(value, FIXED) or is_descriptor(value):
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
        sole = isinstance(owner.base, bytes | torch.Tensor) or type(owner.base).__name__ == CAPSULE
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

    def _scalar(self, value: Any, path: str) -> dict[str, Any]:
        """Encode a number of NumPy by its memory, and a text by its characters: an array would lose final zeros."""
        kind = type(value)
        if kind in (np.str_, np.bytes_):
            return {"kind": "text", "text": encode_state(str.__str__(value) if kind is np.str_ else bytes(value))}
        if kind.__module__ != "numpy" or kind is np.void:
            raise NoSnapshotError(f"{path}: a {label(kind)} cannot be converted to plain data")
        return {"kind": "scalar", "dtype": value.dtype.str, "bytes": encode_state(value.tobytes())}

    def _generator(self, value: Any, path: str) -> dict[str, Any]:
        if any(value is generator for generator in GLOBAL_GENERATORS):
            raise NoSnapshotError(f"{path} is a global random generator: use np_random")
        if type(value) is np.random.Generator:
            return {"kind": "generator", "bits": self.value(value.bit_generator, path)}
        if isinstance(value, np.random.BitGenerator):
            seeds = self.value(value.seed_seq, f"{path}.seed_seq")  # makes the seeds of generators that it spawns
            return {"kind": "bits", "state": encode_state(value.state), "seeds": seeds}
        if type(value) is np.random.SeedSequence:
            state = {name: self.value(item, f"{path}.{name}") for name, item in value.state.items()}
            return {"kind": "seed_sequence", "state": state}
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
        """Encode the random generators of a space and of those in it; the rest of Gymnasium's spaces never changes."""
        from_gymnasium = type(space).__module__.startswith("gymnasium.")
        changing: Any = (np.random.Generator, gym.Space, dict, tuple) if from_gymnasium else object
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
