"""Decoder that writes a snapshot's encoded Python objects into the objects of newly made environments."""

import builtins
import collections
import enum
import functools
import inspect
import random
import sys
import types
from collections.abc import Callable
from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
import torch

from lightning_coordconv.core.state_codec import decode_state
from lightning_coordconv.rl.environments.object_encoder import NoSnapshotError
from lightning_coordconv.rl.environments.object_parts import CONTAINERS, attributes, is_python_class, label, slots

BASES = {base.__name__: base for base in CONTAINERS}
BIT_GENERATORS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
MISSING: Any = object()


class Decoder:
    """Restores objects, each once, in the place of their counterparts: what is reached by the same path.

    Args:
        nodes: of an :class:`~lightning_coordconv.rl.environments.object_encoder.Encoder`.
        packages: those whose classes may be instantiated and looked up, if they are imported already.
    """

    def __init__(self, nodes: list[dict[str, Any]], packages: set[str]) -> None:
        self.nodes = nodes
        self.packages = packages
        self.decoded: dict[int, Any] = {}
        self.claimed: set[int] = set()

    def value(self, encoded: Any, counterpart: Any, path: str) -> Any:
        """Return the value that an encoding describes.

        Args:
            encoded: an atom, or the tuple of an index.
            counterpart: the object in the same place of the other graph; :data:`MISSING` if there is none.
            path: how it is reached, for error messages.

        Raises:
            NoSnapshotError: if it needs a counterpart, and that is missing or of another kind.
        """
        if not isinstance(encoded, tuple):
            return encoded
        (index,) = encoded
        if index not in self.decoded:
            node = self.nodes[index]
            decode: Callable[[int, dict[str, Any], Any, str], Any] = getattr(self, f"_{node['kind']}")
            self.decoded[index] = decode(index, node, counterpart, path)
        return self.decoded[index]

    def class_of(self, name: str, counterpart: Any, path: str) -> type:
        """Return a class by its name: that of the counterpart, a container, or one of the packages' modules."""
        if label(type(counterpart)) == name:
            return type(counterpart)
        for base in CONTAINERS:
            if label(base) == name:
                return base
        parts = name.split(".")
        if parts[0] in self.packages:
            module = next((m for m in (".".join(parts[:n]) for n in range(len(parts), 0, -1)) if m in sys.modules), "")
            found: Any = sys.modules.get(module)
            for part in parts[module.count(".") + 1 :]:
                found = vars(found).get(part) if isinstance(found, types.ModuleType | type) else None
            if (
                isinstance(found, type)
                and label(found) == name
                and (issubclass(found, enum.Enum) or is_python_class(found))
            ):
                return found
        raise NoSnapshotError(f"{path}: the class {name} is not one of these environments'")

    def _object(self, index: int, node: dict[str, Any], counterpart: Any, path: str) -> Any:
        kind = self.class_of(node["class"], counterpart, path)
        base: Any = BASES[node["base"]] if node["base"] else object
        if not issubclass(kind, base) or (base is object and kind in CONTAINERS):
            raise NoSnapshotError(f"{path}: a {node['class']} is not a {base.__name__}")
        if base in (tuple, frozenset):
            result: Any = base.__new__(kind, self._items(node, counterpart, path))
        elif base is object and type(counterpart) is kind and id(counterpart) not in self.claimed:
            result = counterpart
            self.claimed.add(id(result))
        else:
            result = base.__new__(kind)
        self.decoded[index] = result
        if base is not object and base not in (tuple, frozenset):
            self._fill(result, base, node, counterpart, path)
        if isinstance(result, set | frozenset) and list(base.__iter__(result)) != self._items(node, counterpart, path):
            raise NoSnapshotError(f"{path}: a set would be iterated in another order")
        self._set_attributes(result, node["attributes"], counterpart)
        return result

    def _fill(self, result: Any, base: Any, node: dict[str, Any], counterpart: Any, path: str) -> None:
        if issubclass(base, dict):
            if base is collections.defaultdict:
                default = getattr(counterpart, "default_factory", MISSING)
                result.default_factory = self.value(node["default_factory"], default, f"{path}.default_factory")
            present = counterpart if isinstance(counterpart, dict) else {}
            for key, item in node["items"]:
                decoded = self.value(key, MISSING, path)
                base.__setitem__(
                    result, decoded, self.value(item, present.get(decoded, MISSING), f"{path}[{decoded!r}]")
                )
        elif base is set:
            set.update(result, self._items(node, counterpart, path))
        elif base is list:
            list.extend(result, self._items(node, counterpart, path))
        else:
            collections.deque.__init__(result, (), node["maxlen"])
            collections.deque.extend(result, self._items(node, counterpart, path))

    def _items(self, node: dict[str, Any], counterpart: Any, path: str) -> list[Any]:
        present = list(counterpart) if isinstance(counterpart, list | tuple | collections.deque) else []
        present += [MISSING] * (len(node["items"]) - len(present))
        return [
            self.value(item, other, f"{path}[{i}]")
            for i, (item, other) in enumerate(zip(node["items"], present, strict=False))
        ]

    def _set_attributes(self, result: Any, saved: dict[str, Any], counterpart: Any) -> None:
        present = attributes(counterpart) if counterpart is not MISSING and is_python_class(type(counterpart)) else {}
        kind = type(result).__name__
        decoded = {name: self.value(item, present.get(name, MISSING), f"{kind}.{name}") for name, item in saved.items()}
        places = slots(type(result))
        for name in attributes(result).keys() - decoded.keys():
            places[name].__delete__(result) if name in places else vars(result).pop(name)
        for name, item in decoded.items():
            if name in places:
                places[name].__set__(result, item)
            else:
                object.__getattribute__(result, "__dict__")[name] = item

    def _enum(self, index: int, node: dict[str, Any], counterpart: Any, path: str) -> Any:
        kind: Any = self.class_of(node["class"], counterpart, path)
        if not issubclass(kind, enum.Enum):
            raise NoSnapshotError(f"{path}: {node['class']} is not an enumeration")
        return kind(self.value(node["value"], MISSING, path)) if node["name"] is None else kind[node["name"]]

    def _scalar(self, index: int, node: dict[str, Any], counterpart: Any, path: str) -> Any:
        dtype = self._dtype(node, path)
        return np.ndarray((), dtype, bytearray(decode_state(node["bytes"])))[()]

    def _text(self, index: int, node: dict[str, Any], counterpart: Any, path: str) -> Any:
        text = decode_state(node["text"])
        return np.str_(text) if isinstance(text, str) else np.bytes_(text)

    def _memory(self, index: int, node: dict[str, Any], counterpart: Any, path: str) -> Any:
        return node["bytes"].numpy().copy()

    def _array(self, index: int, node: dict[str, Any], counterpart: Any, path: str) -> Any:
        dtype = self._dtype(node, path)
        memory = self.value(node["memory"], MISSING, path)
        array: Any = np.ndarray(node["shape"], dtype, memory, node["offset"], node["strides"])
        array.flags.writeable = node["writeable"]
        return array

    def _dtype(self, node: dict[str, Any], path: str) -> np.dtype[Any]:
        dtype = np.dtype(node["dtype"])
        if dtype.hasobject:  # its numbers would be taken for addresses
            raise NoSnapshotError(f"{path}: an array of {dtype} is not plain data")
        return dtype

    def _bits(self, index: int, node: dict[str, Any], counterpart: Any, path: str) -> Any:
        state = decode_state(node["state"])
        if state["bit_generator"] not in BIT_GENERATORS:
            raise NoSnapshotError(f"{path}: {state['bit_generator']} is not a generator of NumPy")
        generator = getattr(np.random, state["bit_generator"])(self.value(node["seeds"], MISSING, path))
        generator.state = state
        return generator

    def _seed_sequence(self, index: int, node: dict[str, Any], counterpart: Any, path: str) -> Any:
        return np.random.SeedSequence(**{name: self.value(item, MISSING, path) for name, item in node["state"].items()})

    def _generator(self, index: int, node: dict[str, Any], counterpart: Any, path: str) -> Any:
        return np.random.Generator(self.value(node["bits"], MISSING, path))

    def _random_state(self, index: int, node: dict[str, Any], counterpart: Any, path: str) -> Any:
        generator = np.random.RandomState()
        generator.set_state(decode_state(node["state"]))
        return generator

    def _random(self, index: int, node: dict[str, Any], counterpart: Any, path: str) -> Any:
        version, words, gauss = node["state"]
        generator = random.Random()
        generator.setstate((version, tuple(words.tolist()), gauss))
        return generator

    def _torch_generator(self, index: int, node: dict[str, Any], counterpart: Any, path: str) -> Any:
        generator = torch.Generator()
        generator.set_state(node["state"].clone())
        return generator

    def _tensor(self, index: int, node: dict[str, Any], counterpart: Any, path: str) -> Any:
        return node["tensor"].clone()

    def _bytes(self, index: int, node: dict[str, Any], counterpart: Any, path: str) -> Any:
        return decode_state(node["bytes"])

    def _bytearray(self, index: int, node: dict[str, Any], counterpart: Any, path: str) -> Any:
        return bytearray(decode_state(node["bytes"]))

    def _immutable(self, index: int, node: dict[str, Any], counterpart: Any, path: str) -> Any:
        return getattr(builtins, node["kind"])(*(self.value(item, MISSING, path) for item in node["items"]))

    _complex = _range = _slice = _immutable

    def _ale(self, index: int, node: dict[str, Any], counterpart: Any, path: str) -> Any:
        if not isinstance(counterpart, ale_py.ALEInterface):
            raise NoSnapshotError(f"{path}: there is no emulator")
        counterpart.restoreState(ale_py.ALEState(decode_state(node["state"])))
        return counterpart

    def _space(self, index: int, node: dict[str, Any], counterpart: Any, path: str) -> Any:
        if not isinstance(counterpart, gym.Space) or repr(counterpart) != node["label"]:
            raise NoSnapshotError(f"{path}: the space was {node['label']}, and now is {counterpart!r}")
        self.decoded[index] = counterpart
        for name, item in node["attributes"].items():
            vars(counterpart)[name] = self.value(item, vars(counterpart).get(name, MISSING), f"{path}.{name}")
        return counterpart

    def _fixed(self, index: int, node: dict[str, Any], counterpart: Any, path: str) -> Any:
        if counterpart is MISSING or label(counterpart) != node["label"]:
            raise NoSnapshotError(f"{path}: {node['label']} is not there any more")
        return counterpart

    def _function(self, index: int, node: dict[str, Any], counterpart: Any, path: str) -> Any:
        if not isinstance(counterpart, types.FunctionType) or label(counterpart) != node["label"]:
            raise NoSnapshotError(f"{path}: the function {node['label']} is not there any more")
        self.decoded[index] = counterpart
        cells = counterpart.__closure__ or ()
        for cell, item in zip(cells, node["closure"], strict=True):
            cell.cell_contents = self.value(item, cell.cell_contents, f"{path} variable")
        counterpart.__defaults__ = self.value(node["defaults"], counterpart.__defaults__, f"{path} default")
        return counterpart

    def _method(self, index: int, node: dict[str, Any], counterpart: Any, path: str) -> Any:
        owner = self.value(node["self"], getattr(counterpart, "__self__", MISSING), f"{path}.__self__")
        bound: Any = (None, owner) if isinstance(owner, type) else (owner, type(owner))
        for base in bound[1].__mro__:
            method = vars(base).get(node["name"])
            if inspect.isroutine(method) and hasattr(method, "__get__"):
                return method.__get__(*bound)
        raise NoSnapshotError(f"{path}: a {label(type(owner))} has no method {node['name']}")

    def _partial(self, index: int, node: dict[str, Any], counterpart: Any, path: str) -> Any:
        parts = [getattr(counterpart, name, MISSING) for name in ("func", "args", "keywords")]
        function, arguments, keywords = (
            self.value(item, part, path) for item, part in zip(node["items"], parts, strict=True)
        )
        return functools.partial(function, *arguments, **keywords)
