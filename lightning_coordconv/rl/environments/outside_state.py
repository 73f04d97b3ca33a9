"""Class that saves and restores environments' state in classes, functions, modules, and refuses global randomness."""

import enum
import importlib.util
import os
import random
import secrets
import sys
import types
import uuid
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from lightning_coordconv.rl.environments.changing import (
    can_change,
    is_descriptor_of_others,
    is_framework,
    is_installed,
    package_of,
    usually_changes,
)
from lightning_coordconv.rl.environments.code_names import Use, stored_variables, uses
from lightning_coordconv.rl.environments.object_decoder import MISSING, Decoder
from lightning_coordconv.rl.environments.object_encoder import (
    ATOMS,
    GLOBAL_GENERATORS,
    GLOBAL_MODULES,
    Encoder,
    NoSnapshotError,
)
from lightning_coordconv.rl.environments.object_parts import is_python_class, is_written_in_python, label

PARTS = ("__func__", "fget", "fset", "fdel", "func")
"""Attributes under which descriptors hold functions."""
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
        self.packages = {package_of(type(env).__module__)}
        self.own: set[str] = set()
        self.classes: dict[str, type] = {}
        self.functions: dict[str, types.FunctionType] = {}
        self.modules: dict[str, types.ModuleType] = {}
        self.variables: dict[str, dict[str, Any]] = {}

    def see(self, value: Any, path: str) -> None:
        """Take note of an object's class, of a class, of a function, or of a module."""
        if isinstance(value, types.ModuleType):
            if self._is_own(value.__name__):
                self.modules.setdefault(value.__name__, value)
            return
        if isinstance(value, types.FunctionType) and not is_framework(value.__globals__.get("__name__")):
            name = label(value)
            while self.functions.setdefault(name, value) is not value:
                name += "'"  # a function within a function, or one that took the name of that which it wraps
        wrapped = getattr(value, "__wrapped__", None)  # of decorators, as functools.cache
        if isinstance(wrapped, types.FunctionType):
            self.see(wrapped, path)
        for base in (value if isinstance(value, type) else type(value)).__mro__:
            package = package_of(base.__module__)
            if package not in sys.stdlib_module_names or package == "__main__":
                self.packages.add(package)
            if isinstance(value, gym.Env):
                self.own.add(package)
            if not is_framework(base.__module__) and not issubclass(base, enum.Enum) and self._has_state(base):
                self.classes.setdefault(label(base), base)

    def _is_own(self, module: str) -> bool:
        """Whether a module is one that environments come from, or one that is not installed."""
        return not is_framework(module) and (package_of(module) in self.own or not is_installed(module))

    def _has_state(self, kind: type) -> bool:
        return is_python_class(kind) or (self._is_own(kind.__module__) and is_written_in_python(kind))

    def encode(self, encoder: Encoder) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Return the attributes of classes, the variables of modules and the state of functions, encoded.

        Raises:
            NoSnapshotError: if they cannot be, or the code draws from a global random generator.
        """
        classes: dict[str, Any] = {}
        modules: dict[str, Any] = {}
        functions: dict[str, Any] = {}
        whole: set[str] = set()
        while (
            self.classes.keys() - classes.keys()
            or self.functions.keys() - functions.keys()
            or self.modules.keys() - whole
        ):  # what is found has more of all three
            for name in [name for name in self.classes if name not in classes]:
                for member in _members(self.classes[name]):
                    self.see(member, name)
                data = _class_state(self.classes[name])
                classes[name] = {key: encoder.value(value, f"{name}.{key}") for key, value in data.items()}
            used: list[tuple[str, str, Any]] = []
            for name in [name for name in self.functions if name not in functions]:
                for value in _surroundings(self.functions[name]):
                    self.see(value, name)
                data = _function_state(self.functions[name])
                functions[name] = {key: encoder.value(value, f"{name} {key}") for key, value in data.items()}
                used += self._variables(self.functions[name])
            for name in [name for name in self.modules if name not in whole]:
                whole.add(name)
                used += self._all_variables(self.modules[name])
            for module, key, value in used:
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
                variables = self.variables[module]
                variables[key] = decoder.value(item, variables.get(key, MISSING), f"{module}.{key}")
        for name, saved in functions.items():
            function = self.functions[name]
            present = _function_state(function)
            for key, item in saved.items():
                _set_function_state(function, key, decoder.value(item, present.get(key, MISSING), f"{name} {key}"))

    def _variables(self, function: types.FunctionType) -> Iterator[tuple[str, str, Any]]:
        """Yield module, name and value of what a function uses that can change, and take note of what it calls."""
        seeded = any(
            isinstance(constant, tuple) and "generator" in constant for constant in function.__code__.co_consts
        )
        for use in uses(function.__code__):
            variables, key, value = _reached(function, use)
            if _draws_globally(value) and not (seeded and value in SAMPLERS):
                raise NoSnapshotError(f"{label(function)} draws from a global random generator: use np_random")
            module, stored = variables.get("__name__", ""), use.stored and use.names[-1] == key
            if self._is_own(module):
                kept = stored or can_change(value)
            elif use.module is not None:  # a package of others that is imported within the code
                continue
            else:
                kept = variables is function.__globals__ and (stored or usually_changes(value))
            self.see(value, key)
            if kept:
                self.variables[module] = variables
                yield module, key, value

    def _all_variables(self, module: types.ModuleType) -> Iterator[tuple[str, str, Any]]:
        """Yield the same of a module that code may use in any way, as one that an attribute holds."""
        self.variables[module.__name__] = vars(module)
        for key, value in list(vars(module).items()):
            if key[:2] != "__" and not isinstance(value, types.ModuleType):
                self.see(value, key)
                if type(value) in ATOMS or can_change(value):
                    yield module.__name__, key, value


def _reached(function: types.FunctionType, use: Use) -> tuple[dict[str, Any], str, Any]:
    """Return the last module's variables on the way along some names, the name of one of them, and its value."""
    variables, key, value = function.__globals__, "", None
    if use.module is not None:
        package = function.__globals__.get("__package__")
        value = sys.modules.get(importlib.util.resolve_name(use.module, package))
    for name in use.names:
        if isinstance(value, types.ModuleType):
            variables = vars(value)
        elif key or use.module is not None:
            break
        key, value = name, variables.get(name)
    return variables, key, value


def _members(kind: type) -> Iterator[Any]:
    """Yield the members of a class, and the functions that its descriptors hold."""
    for value in list(vars(kind).values()):
        yield value
        if is_descriptor_of_others(value):
            yield from (getattr(value, name, None) for name in PARTS)


def _surroundings(function: types.FunctionType) -> Iterator[Any]:
    """Yield the variables around a function that it uses, and the defaults of its arguments."""
    yield from (cell.cell_contents for cell in _closure(function).values())
    yield from (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())


def _class_state(kind: type) -> dict[str, Any]:
    """Return the attributes of a class that are data: neither functions and descriptors nor names such as __doc__."""
    return {
        name: value
        for name, value in vars(kind).items()
        if not (
            name.startswith("__") or name == "_abc_impl" or isinstance(value, type) or is_descriptor_of_others(value)
        )
    }


def _function_state(function: types.FunctionType) -> dict[str, Any]:
    """Return what calls of a function can change: mutable defaults, attributes, variables of functions around it."""
    defaults = dict(enumerate(function.__defaults__ or ())) | (function.__kwdefaults__ or {})
    found = {f"default {name}": value for name, value in defaults.items() if can_change(value)}
    stored = set(stored_variables(function.__code__))
    for name, cell in _closure(function).items():
        value = cell.cell_contents
        if name in stored or can_change(value):
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


def _draws_globally(value: Any) -> bool:
    owner = getattr(value, "__self__", None)
    return any(owner is generator for generator in GLOBAL_GENERATORS) or any(
        value is other
        for other in (*GLOBAL_MODULES, *SAMPLERS, *UNSEEDED, *GLOBAL_GENERATORS, np.random.seed, np.random.set_state)
    )
