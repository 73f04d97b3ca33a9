"""Class that saves and restores environments' state in classes, functions, modules, and refuses global randomness."""

import collections
import contextvars
import dis
import enum
import os
import random
import secrets
import sys
import threading
import types
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from lightning_coordconv.rl.environments.object_decoder import MISSING, Decoder
from lightning_coordconv.rl.environments.object_encoder import (
    GLOBAL_GENERATORS,
    GLOBAL_MODULES,
    Encoder,
    NoSnapshotError,
    is_python_class,
    label,
)

FRAMEWORKS = {"gymnasium", "stable_baselines3", "numpy", "torch", "ale_py", "lightning_coordconv", "minatar"}
"""Packages without such state."""
MUTABLE = (list, dict, set, bytearray, collections.deque, np.ndarray, np.random.Generator, np.random.RandomState)
SAMPLERS = [getattr(torch, name) for name in ("rand", "randn", "randint", "randperm", "normal", "bernoulli",
                                              "multinomial", "rand_like", "randn_like", "manual_seed")]  # fmt: skip
UNSEEDED = [os.urandom, uuid.uuid1, uuid.uuid4, random.SystemRandom, *(getattr(secrets, n) for n in secrets.__all__)]
"""What draws from the system's generator, which has no seed."""


class Outside:
    """The classes and functions of some environments, and the state in them.

    Args:
        env: a vector of environments; an encoder shows this observer what belongs to it.
    """

    def __init__(self, env: Any) -> None:
        self.packages = {label(type(env)).partition(".")[0]}
        self.classes: dict[str, type] = {}
        self.functions: dict[str, types.FunctionType] = {}

    def see(self, value: Any, path: str) -> None:
        """Take note of an object's class, of a class, or of a function."""
        for function in (value, getattr(value, "__wrapped__", None)):  # the second of decorators, as functools.cache
            if isinstance(function, types.FunctionType) and _is_own(function):
                name = label(function)
                while self.functions.setdefault(name, function) is not function:
                    name += "'"  # a function within a function, or one that took the name of that which it wraps
        for base in (value if isinstance(value, type) else type(value)).__mro__:
            package = base.__module__.partition(".")[0]
            if package == "__main__" or package not in sys.stdlib_module_names:
                self.packages.add(package)
            if _is_own(base) and not issubclass(base, enum.Enum) and is_python_class(base):
                self.classes.setdefault(label(base), base)

    def encode(self, encoder: Encoder) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Return the attributes of classes, the variables of modules and the state of functions, encoded.

        Raises:
            NoSnapshotError: if they cannot be, or the code draws from a global random generator.
        """
        classes: dict[str, Any] = {}
        modules: dict[str, Any] = {}
        functions: dict[str, Any] = {}
        analysed: set[str] = set()
        while (
            self.classes.keys() - classes.keys() or self.functions.keys() - analysed
        ):  # what is found has more of both
            for name in self.classes.keys() - classes.keys():
                for function in _methods(self.classes[name]):
                    self.see(function, name)
                data = _class_state(self.classes[name])
                classes[name] = {key: encoder.value(value, f"{name}.{key}") for key, value in data.items()}
            for name in [name for name in self.functions if name not in analysed]:  # in an order that a set has not
                analysed.add(name)
                for cell in _closure(self.functions[name]).values():
                    self.see(cell.cell_contents, name)
                data = _function_state(self.functions[name])
                functions[name] = {key: encoder.value(value, f"{name} {key}") for key, value in data.items()}
                for module, key, value in self._variables(self.functions[name]):
                    modules.setdefault(module, {})[key] = encoder.value(value, f"{module}.{key}")
        return classes, modules, functions

    def decode(
        self, decoder: Decoder, classes: dict[str, Any], modules: dict[str, Any], functions: dict[str, Any]
    ) -> None:
        """Restore the attributes of these classes, the variables of modules that their code uses, and its functions."""
        _, used, _ = self.encode(Encoder(self))
        for name, saved in classes.items():
            kind = self.classes.get(name) or decoder.class_of(name, None, name)
            present = _class_state(kind)
            for key, item in saved.items():
                if key.startswith("__") or (key in vars(kind) and key not in present):
                    raise NoSnapshotError(f"{name}.{key} is not data")
                setattr(kind, key, decoder.value(item, present.get(key, MISSING), f"{name}.{key}"))
        for module, saved in modules.items():
            for key, item in saved.items():
                if key not in used.get(module, {}):
                    raise NoSnapshotError(f"{module}.{key} is not used by these environments")
                variables = vars(sys.modules[module])
                variables[key] = decoder.value(item, variables.get(key, MISSING), f"{module}.{key}")

        for name, saved in functions.items():
            function = self.functions[name]
            present = _function_state(function)
            for key, item in saved.items():
                _set_function_state(function, key, decoder.value(item, present.get(key, MISSING), f"{name} {key}"))

    def _variables(self, function: types.FunctionType) -> Iterator[tuple[str, str, Any]]:
        """Yield module, name and value of what a function uses that can change, and take note of what it calls."""
        variables = function.__globals__
        seeded = any(
            isinstance(constant, tuple) and "generator" in constant for constant in function.__code__.co_consts
        )
        module = function.__module__
        for chain, stored in _global_names(function.__code__):
            if chain[0] in ("random", "numpy.random") and stored is None:
                raise NoSnapshotError(f"{label(function)} imports a global random generator: use np_random")
            value = variables.get(chain[0])
            for name in chain[1:]:
                value = vars(value).get(name) if isinstance(value, types.ModuleType) else value
            if _draws_globally(value) and not (seeded and value in SAMPLERS):
                raise NoSnapshotError(f"{label(function)} draws from a global random generator: use np_random")
            if isinstance(value, threading.local | contextvars.ContextVar):
                raise NoSnapshotError(f"{label(function)} uses a {label(type(value))}, whose state cannot be saved")
            self.see(value, chain[0])
            if len(chain) > 1 and isinstance(variables.get(chain[0]), types.ModuleType):
                continue
            value = variables.get(chain[0])
            if stored or isinstance(value, MUTABLE) or (_is_own(type(value)) and not isinstance(value, enum.Enum)):
                yield module, chain[0], value


def _is_own(value: Any) -> bool:
    """Whether a class or function is part of the environments' own code."""
    package = (value.__module__ or "").partition(".")[0]
    return package == "__main__" or (package not in FRAMEWORKS and package not in sys.stdlib_module_names)


def _methods(kind: type) -> Iterator[Any]:
    for value in vars(kind).values():
        yield value.fget if isinstance(value, property) else getattr(value, "__func__", value)


def _class_state(kind: type) -> dict[str, Any]:
    """Return the attributes of a class that are data: neither functions and descriptors nor names such as __doc__."""
    return {
        name: value
        for name, value in vars(kind).items()
        if not (
            name.startswith("__") or name == "_abc_impl" or isinstance(value, type) or _is_foreign_descriptor(value)
        )
    }


def _is_foreign_descriptor(value: Any) -> bool:
    return hasattr(value, "__get__") and not _is_own(type(value))


def _function_state(function: types.FunctionType) -> dict[str, Any]:
    """Return what calls of a function can change: mutable defaults, attributes, variables of functions around it."""
    defaults = dict(enumerate(function.__defaults__ or ())) | (function.__kwdefaults__ or {})
    found = {f"default {name}": value for name, value in defaults.items() if isinstance(value, MUTABLE)}
    stored = set(_stored_variables(function.__code__))
    for name, cell in _closure(function).items():
        value = cell.cell_contents
        if name in stored or isinstance(value, MUTABLE) or (_is_own(type(value)) and not isinstance(value, enum.Enum)):
            found[f"variable {name}"] = value
    return found | {f"attribute {name}": value for name, value in vars(function).items() if name[:2] != "__"}


def _set_function_state(function: types.FunctionType, key: str, value: Any) -> None:
    """Undo :func:`_function_state` for one of its entries."""
    kind, _, name = key.partition(" ")
    if kind == "attribute" and name[:2] != "__":
        setattr(function, name, value)
    elif kind == "variable" and name in _closure(function):
        _closure(function)[name].cell_contents = value
    elif kind == "default" and name.isdecimal():
        defaults = list(function.__defaults__ or ())
        defaults[int(name)] = value
        function.__defaults__ = tuple(defaults)
    elif kind == "default" and name in (function.__kwdefaults__ or {}):
        function.__kwdefaults__[name] = value  # type: ignore[index]  # it has this name
    else:
        raise NoSnapshotError(f"{label(function)} has no {key}")


def _closure(function: types.FunctionType) -> dict[str, types.CellType]:
    """Return the variables of functions around a function that it uses, by name, but for those without a value."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: cell for name, cell in cells if cell != types.CellType()}


def _stored_variables(code: types.CodeType) -> Iterator[str]:
    """Yield the names of variables of functions around code that it, or a function in it, sets (``nonlocal``)."""
    yield from (each.argval for each in dis.get_instructions(code) if each.opname in ("STORE_DEREF", "DELETE_DEREF"))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _stored_variables(constant)


def _draws_globally(value: Any) -> bool:
    owner = getattr(value, "__self__", None)
    return any(owner is generator for generator in GLOBAL_GENERATORS) or any(
        value is other
        for other in (*GLOBAL_MODULES, *SAMPLERS, *UNSEEDED, *GLOBAL_GENERATORS, np.random.seed, np.random.set_state)
    )


def _global_names(code: types.CodeType) -> Iterator[tuple[list[str], bool | None]]:
    """Yield the names that code reads or writes outside itself, with the attributes read from them.

    With each comes whether it is written; ``None`` for a module that is imported within the code.
    """
    instructions = [each for each in dis.get_instructions(code) if each.opname not in ("CACHE", "PRECALL")]
    for i, instruction in enumerate(instructions):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            chain = [instruction.argval]
            for following in instructions[i + 1 :]:
                if following.opname not in ("LOAD_ATTR", "LOAD_METHOD"):
                    break
                chain.append(following.argval)
            yield chain, False
        elif instruction.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            yield [instruction.argval], True
        elif instruction.opname == "IMPORT_NAME":
            yield [instruction.argval], None
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _global_names(constant)
