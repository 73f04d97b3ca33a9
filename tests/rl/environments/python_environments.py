"""Environments for tests of snapshots whose state can be restored: each keeps it in another kind of Python object.

Each observes a number that depends on all of its state.
"""

import collections
import dataclasses
import enum
import functools
import random
from typing import NamedTuple

import gymnasium as gym
import numpy as np
import torch

COUNTER = 0
SHARED = [0]


class Direction(enum.IntEnum):
    UP = 1
    DOWN = 2


class Ways(enum.Flag):
    LEFT = enum.auto()
    RIGHT = enum.auto()


class Pair(NamedTuple):
    first: list
    second: int


@dataclasses.dataclass
class Enemy:
    position: np.ndarray
    name: str
    friends: list = dataclasses.field(default_factory=list)


class Slotted:
    __slots__ = ("__hidden", "owner", "unset")

    def __init__(self, owner):
        self.__hidden, self.owner = 0, owner

    def bump(self):
        self.__hidden += 1
        return self.__hidden


class Base(gym.Env):
    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        self.begin()
        return np.zeros(1), {}

    def begin(self):
        """Draw what an episode starts with; nothing by default."""

    def step(self, action):
        self.t += 1
        return np.array([float(self.move())]), 0.0, False, False, {}


class EnumAttribute(Base):
    def begin(self):
        self.state = {"direction": Direction.UP, "ways": Ways.LEFT}

    def move(self):
        seen = self.state["direction"] + 10 * self.state["ways"].value
        self.state = {"direction": Direction.DOWN if self.t > 2 else Direction.UP, "ways": Ways.LEFT | Ways.RIGHT}
        return seen


class View(Base):
    def begin(self):
        self.state = np.zeros((3, 4), order="F")
        self.position, self.backwards = self.state[1:, 2], self.state.T[::-1]

    def move(self):
        self.position += self.t
        self.backwards[0, 0] += 1
        return self.state.sum() + self.state[0, 3]


class Cycle(Base):
    def begin(self):
        self.enemies = [Enemy(np.zeros(2), str(i)) for i in range(2)]
        self.enemies[0].friends = self.enemies
        self.by_name = {enemy.name: enemy for enemy in self.enemies}

    def move(self):
        self.by_name["0"].friends[1].position += 1
        self.enemies.append(Enemy(np.full(2, self.t), "later"))
        return sum(enemy.position.sum() for enemy in self.by_name["0"].friends)


class Slots(Base):
    def begin(self):
        self.part = Slotted(self)

    def move(self):
        return self.part.bump() + self.part.owner.t * 100


class Property(Base):
    position = property(lambda self: self._position, lambda self, value: setattr(self, "_position", value % 7))

    def begin(self):
        self.position = 3

    def move(self):
        self.position += 5
        return self.position + self.cached

    @functools.cached_property
    def cached(self):
        return self.t * 10


class ClassState(Base):
    count, table = 0, np.zeros(2)

    def begin(self):
        self.mine = type(self).table

    def move(self):
        type(self).count += 1
        self.mine += 1
        return self.count + 100 * type(self).table.sum()


class ModuleState(Base):
    def begin(self):
        self.shared = SHARED

    def move(self):
        global COUNTER
        COUNTER += 1
        SHARED[0] += 2
        return COUNTER + 1000 * self.shared[0]


class Containers(Base):
    def begin(self):
        self.queue = collections.deque([1, 2, 3], maxlen=3)
        self.counts = collections.Counter(a=1)
        self.groups = collections.defaultdict(list)
        self.order = collections.OrderedDict(x=1, y=2)
        self.seen, self.pair, self.raw = {1, 2}, Pair([0], 1), bytearray(b"ab")

    def move(self):
        self.queue.append(self.t)
        self.counts["a"] += 1
        self.groups[self.t % 2].append(self.t)
        self.order.move_to_end("x")
        self.seen.add(self.t)
        self.pair.first.append(self.t)
        self.raw.append(self.t)
        values = (*self.queue, self.counts["a"], *map(len, self.groups.values()), *self.order.values(), *self.seen,
                  *self.pair.first, *self.raw)  # fmt: skip
        return sum(i * value for i, value in enumerate(values))


class Generators(Base):
    def begin(self):
        self.generators = [np.random.default_rng(5), np.random.RandomState(5), random.Random(5)]
        self.same = self.generators[0]
        self.torch_generator = torch.Generator().manual_seed(3)
        self.scalar = np.float32(0)

    def move(self):
        self.scalar += np.float32(torch.rand((), generator=self.torch_generator))
        drawn = self.generators[0].random() + self.generators[1].rand() + self.generators[2].random()
        return drawn + self.same.random() + float(self.scalar) + len(self.observation_space.sample())


class SampledSpace(Base):
    def __init__(self):
        self.inner = gym.spaces.Dict(a=gym.spaces.Discrete(1000))

    def begin(self):
        self.inner.seed(3)

    def move(self):
        return self.inner.sample()["a"]


class Behaviour(Base):
    def begin(self):
        self.total = np.zeros(1)
        self.behave = self.walk
        self.add = functools.partial(self.grow, step=3)
        self.peek = lambda total=self.total: float(total[0])

    def walk(self):
        self.behave = self.run
        return 1

    def run(self):
        return 2

    def grow(self, step):
        self.total += step

    def move(self):
        self.add()
        return self.behave() + 10 * self.peek()


class Bound(Base):
    def begin(self):
        self.items = []
        self.push = self.items.append

    def move(self):
        self.push(self.t)
        return sum(self.items)


def counted(calls=[0], *, named={"calls": 0}):  # noqa: B006  # state in defaults is the point
    calls[0] += 1
    named["calls"] += 2
    counted.calls = getattr(counted, "calls", 0) + 4
    return calls[0] + named["calls"] + counted.calls


class FunctionState(Base):
    def move(self):
        return counted()


class Ticks:
    def __init__(self):
        self.count = 0

    def __get__(self, instance, owner=None):
        self.count += 1
        return self.count


class DescriptorState(Base):
    ticks = Ticks()

    def move(self):
        return self.ticks


RESTORED = (FunctionState, DescriptorState, EnumAttribute, View,
            Cycle, Slots, Property, ClassState, ModuleState, Containers, Generators, SampledSpace,
            Behaviour, Bound)  # fmt: skip


def forget():
    """Set what is kept outside of objects back, as a new process would have it."""
    global COUNTER
    COUNTER = 0
    globals()["SHARED"] = [0]
    ClassState.count, ClassState.table = 0, np.zeros(2)
    vars(DescriptorState)["ticks"].count = 0
    counted.__defaults__ = ([0],)
    counted.__kwdefaults__["named"] = {"calls": 0}
    vars(counted).clear()
