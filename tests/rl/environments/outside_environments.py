"""Environments for tests of snapshots whose state lies outside of them: in modules, functions, defaults and classes."""

import array
import collections
import functools
import itertools
import random
import types

import gymnasium as gym
import numpy as np
import torch

from tests.rl.environments import shared_state
from tests.rl.environments.python_environments import Base

RANDOM = random.Random(3)
TORCH = torch.Generator().manual_seed(1)
TENSOR = torch.zeros(1)
DICT = collections.UserDict(number=0)
SPACE = gym.spaces.Discrete(10**6, seed=3)
SEEDS = np.random.SeedSequence(3)
CHOOSE, DRAW, DRAW_OF_NUMPY = RANDOM.choice, RANDOM.random, np.random.default_rng(3).random
SET = []


class Memory:
    def __init__(self):
        self.number = 0

    def rise(self):
        self.number += 1
        return self.number


RISE, PARTIAL = Memory().rise, functools.partial(lambda memory: memory.rise(), Memory())


class PythonGenerator(Base):
    def move(self):
        return RANDOM.random()


class TorchGenerator(Base):
    def move(self):
        return torch.rand((), generator=TORCH)


class Tensor(Base):
    def move(self):
        return TENSOR.add_(1)


class Library(Base):
    def move(self):
        DICT["number"] += 1
        return DICT["number"]


class Space(Base):
    def move(self):
        return SPACE.sample()


class Methods(Base):
    choose = RANDOM.choice

    def move(self):
        drawn = CHOOSE(range(100)) + DRAW() + DRAW_OF_NUMPY() + self.choose(range(100))
        return drawn + RISE() + PARTIAL()


class Spawn(Base):
    def move(self):
        return self.np_random.spawn(1)[0].random() + np.random.default_rng(SEEDS.spawn(1)[0]).random()


def around():
    generator = random.Random(4)
    return lambda: generator.random()


DRAW_AROUND = around()


class Around(Base):
    def move(self):
        return DRAW_AROUND()


class Default(Base):
    def move(self, memory=Memory(), *, generator=random.Random(9)):  # noqa: B008  # state in defaults is the point
        return memory.rise() + generator.random()


class Helpers(Base):
    def move(self):
        shared_state.STATE["number"] += 1
        shared_state.NUMBER += 1
        return shared_state.RANDOM.random() + shared_state.STATE["number"] + shared_state.NUMBER


class HelpersImportedWithin(Base):
    def move(self):
        import tests.rl.environments.shared_state as module
        from tests.rl.environments.shared_state import STATE

        module.NUMBER += 1
        STATE["number"] += 1
        return module.RANDOM.random() + module.NUMBER + STATE["number"]


class HelpersInAttribute(Base):
    def begin(self):
        self.module = shared_state

    def move(self):
        self.module.NUMBER += 1
        return self.module.RANDOM.random() + self.module.NUMBER


class Decorated(Base):
    @shared_state.counted
    def move(self):
        return 0


class Nested(Base):
    class Count:
        number = 0

    def move(self):
        self.Count.number += 1
        return self.Count.number


class Setter(Base):
    number = property(lambda self: len(SET), lambda self, value: SET.append(value))

    def move(self):
        self.number = 3
        return self.number


class FallError(Exception):
    number = 0


class InException(Base):
    def move(self):
        FallError.number += 1
        return FallError.number


class Level(gym.spaces.Discrete):
    level = 0

    def sample(self, *arguments):
        self.level += 1
        return self.level


class OwnSpace(Base):
    def begin(self):
        self.space = Level(3)

    def move(self):
        return self.space.sample()


class RandomImportedWithin(Base):
    def begin(self):
        import random

        self.generator = random.Random(3)

    def move(self):
        return self.generator.random()


RESTORED = (PythonGenerator, TorchGenerator, Tensor, Library, Space, Methods, Spawn, Around, Default, Helpers,
            HelpersImportedWithin, HelpersInAttribute, Decorated, Nested, Setter, InException, OwnSpace,
            RandomImportedWithin)  # fmt: skip

COUNT, ARRAY, NAMESPACE = itertools.count(), array.array("l", [0]), types.SimpleNamespace(number=0)


class CountInModule(Base):
    def move(self):
        return next(COUNT)


class ArrayInModule(Base):
    def move(self):
        ARRAY[0] += 1
        return ARRAY[0]


class NamespaceInModule(Base):
    def move(self):
        NAMESPACE.number += 1
        return NAMESPACE.number


class CountInDefault(Base):
    def move(self, count=itertools.count()):  # noqa: B008  # as above
        return next(count)


class GlobalImportedWithin(Base):
    def move(self):
        import numpy as arrays

        return arrays.random.rand()


class EntropyImportedWithin(Base):
    def move(self):
        from os import urandom

        return urandom(1)[0]


class GlobalOfTorch(Base):
    def move(self):
        return torch.rand((), generator=torch.default_generator)


REFUSED = {
    CountInModule: "COUNT: a itertools.count cannot be converted",
    ArrayInModule: "ARRAY: a array.array cannot be converted",
    NamespaceInModule: "NAMESPACE: a types.SimpleNamespace cannot be converted",
    CountInDefault: "CountInDefault.move:.* default 0: a itertools.count cannot be converted",
    GlobalImportedWithin: "GlobalImportedWithin.move:.* draws from a global random generator",
    EntropyImportedWithin: "EntropyImportedWithin.move:.* draws from a global random generator",
    GlobalOfTorch: "GlobalOfTorch.move:.* draws from a global random generator",
}
