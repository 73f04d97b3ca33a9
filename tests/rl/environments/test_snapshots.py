"""Tests that snapshots restore environments of any Python objects exactly, or are refused."""

import collections
import contextvars
import dataclasses
import enum
import functools
import io
import os
import random
import secrets
import threading
from typing import NamedTuple

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning_coordconv.rl.environments.snapshots import NoSnapshotError, restore, snapshot
from lightning_coordconv.rl.environments.vector import find, make


def vector(env_id: str, backend: str = "sb3", n_stack: int = 2, **wrapper):
    return make(find(env_id, backend, {}, wrapper), 2, backend, n_stack, wrapper)


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def play(env, steps):
    return [env.step(np.array([env.action_space.sample() for _ in range(2)])) for _ in range(steps)]


def same(first, second):
    for info in (info for step in (*first, *second) for info in step[3]):
        info.get("episode", {}).pop("t", None)  # seconds
    np.testing.assert_equal(first, second)


@pytest.mark.parametrize(
    ("env_id", "backend", "steps"),
    [
        ("lightning_coordconv/FindAndTouch-v0", "sb3", 80),
        ("CartPole-v1", "sb3", 80),
        pytest.param("BreakoutNoFrameskip-v4", "sb3", 40, marks=pytest.mark.slow),
        ("BreakoutNoFrameskip-v4", "lean", 40),
    ],
)
def test_the_future_is_the_same(env_id, backend, steps):
    env, other = vector(env_id, backend), vector(env_id, backend)
    env.action_space.seed(0)
    env.seed(1)
    env.reset()
    play(env, 25)
    other.reset()
    restore(other, through_a_file(snapshot(env)))
    env.action_space.seed(1)
    expected = play(env, steps)
    assert any(step[2].any() for step in expected)  # an end, after which there is a reset
    other.action_space.seed(1)
    same(play(other, steps), expected)


def test_without_a_snapshot_the_future_differs():
    env, other = vector("CartPole-v1"), vector("CartPole-v1")
    for each in (env, other):
        each.reset()
        each.action_space.seed(0)
    with pytest.raises(AssertionError):
        same(play(env, 3), play(other, 3))


# Environments of everyday Python. Each observes a number that depends on all of its state.

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


class GlobalNumpy(Base):
    def begin(self):
        self.start = np.random.rand()

    def move(self):
        return np.random.rand()


class GlobalPython(Base):
    def begin(self):
        self.rng = random

    def move(self):
        return self.rng.random()


def helper():
    return random.choice([1, 2, 3, 4, 5])


class GlobalInHelper(Base):
    def begin(self):
        pass

    def move(self):
        return helper()


class LocalImport(Base):
    def begin(self):
        pass

    def move(self):
        import random as chance

        return chance.random()


class OpenFile(Base):
    def begin(self):
        self.file = open(__file__)  # noqa: SIM115

    def move(self):
        return len(self.file.readline())

    def close(self):
        self.file.close()


class Iterator(Base):
    def begin(self):
        self.numbers = iter(range(100))

    def move(self):
        return next(self.numbers)


class Lock(Base):
    def begin(self):
        self.lock = threading.Lock()

    def move(self):
        return 0


class ArrayOfObjects(Base):
    def begin(self):
        self.objects = np.array([[1], None], dtype=object)

    def move(self):
        return 0


class SharedBuffer(Base):
    def begin(self):
        self.buffer = bytearray(8)
        self.array = np.frombuffer(self.buffer, np.uint8)

    def move(self):
        self.array[0] += 1
        return self.buffer[0]


LOCAL = threading.local()
CONTEXT = contextvars.ContextVar("count", default=0)


class ThreadLocal(Base):
    def move(self):
        LOCAL.count = getattr(LOCAL, "count", 0) + 1
        return LOCAL.count


class ContextVariable(Base):
    def move(self):
        CONTEXT.set(CONTEXT.get() + 1)
        return CONTEXT.get()


class SystemEntropy(Base):
    def move(self):
        return os.urandom(1)[0]


class Secrets(Base):
    def move(self):
        return secrets.randbelow(3)


@functools.cache
def cached_helper(number):
    return number + np.random.rand()


class GlobalInCachedHelper(Base):
    def move(self):
        return cached_helper(1)


REFUSED = (
    ThreadLocal,
    ContextVariable,
    SystemEntropy,
    Secrets,
    GlobalInCachedHelper,
    GlobalNumpy,
    GlobalPython,
    GlobalInHelper,
    LocalImport,
    OpenFile,
    Iterator,
    Lock,
    ArrayOfObjects,
    SharedBuffer,
)


def register(kind):
    name = f"tests/{kind.__name__}-v0"
    if name not in gym.registry:
        gym.register(name, kind)
    return vector(name, n_stack=1)


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


@pytest.mark.parametrize("kind", RESTORED, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("steps", [0, 1, 5])
def test_every_kind_of_attribute_is_restored(kind, steps):
    forget()
    one = register(kind)
    one.reset()
    for _ in range(steps):
        one.step([0, 1])
    state = through_a_file(snapshot(one))
    expected = [one.step([1, 0])[0].tolist() for _ in range(6)]
    forget()
    other = register(kind)
    other.reset()
    if steps == 5:
        other.step([0, 0])  # of another age
    restore(other, state)
    assert [other.step([1, 0])[0].tolist() for _ in range(6)] == expected
    assert len(set(map(str, expected))) > 1 or kind is EnumAttribute


@pytest.mark.parametrize("kind", REFUSED, ids=lambda kind: kind.__name__)
def test_what_cannot_be_restored_is_refused(kind):
    env = register(kind)
    env.reset()
    with pytest.raises(NoSnapshotError, match="helper" if "Helper" in kind.__name__ else kind.__name__):
        snapshot(env)
    env.close()


def test_other_environments_refuse_a_snapshot():
    env = register(Cycle)
    env.reset()
    state = snapshot(env)
    for kind in (Containers, View):
        other = register(kind)
        other.reset()
        with pytest.raises(NoSnapshotError):
            restore(other, state)


def test_emulators_in_threads_have_no_snapshot():
    env = vector("PongNoFrameskip-v4", "ale")
    with pytest.raises(NoSnapshotError, match="AleVecEnv does not give access to the state"):
        snapshot(env)
    env.close()


def test_a_snapshot_names_no_foreign_classes():
    """A class in another package is neither looked up nor imported nor made."""
    env = register(Cycle)
    env.reset()
    state = snapshot(env)
    for node in state["nodes"]:
        if node.get("class", "").endswith("Enemy"):
            node["class"] = "subprocess.Popen"
    other = register(Cycle)
    other.reset()
    with pytest.raises(NoSnapshotError, match=r"the class subprocess\.Popen is not one of these environments'"):
        restore(other, state)


# Any mixture of them, with shared references: an environment is drawn as a recipe of its attributes.

LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), st.floats(-9, 9), st.text(max_size=3), st.just(b"ab"), st.just(1 + 2j)
).map(lambda value: lambda: value)
OBJECTS = st.sampled_from([
    lambda: Direction.UP, lambda: Ways.LEFT | Ways.RIGHT, lambda: np.int16(3), lambda: np.float64(0.5),
    lambda: np.arange(6.0).reshape(2, 3), lambda: np.zeros((2, 0)), lambda: np.arange(6).reshape(2, 3).T,
    lambda: np.random.default_rng(1), lambda: np.random.RandomState(1), lambda: random.Random(1),
    lambda: torch.arange(3), lambda: Enemy(np.ones(2), "e"), lambda: Slotted(None), lambda: {1, 2, 3},
    lambda: frozenset([4]), lambda: collections.deque([1, 2], 2), lambda: bytearray(b"x"), lambda: range(3),
    lambda: collections.Counter(a=2), lambda: gym.spaces.Discrete(5, seed=1), lambda: Direction, lambda: np.dtype("i4"),
])  # fmt: skip
OPAQUE = st.sampled_from([threading.Lock, lambda: (i for i in range(9)), object, lambda: memoryview(b"ab")])


def collections_of(inner):
    parts = st.lists(inner, max_size=3)
    return st.one_of(
        parts.map(lambda makers: lambda: [make() for make in makers]),
        parts.map(lambda makers: lambda: tuple(make() for make in makers)),
        parts.map(lambda makers: lambda: {f"k{i}": make() for i, make in enumerate(makers)}),
        parts.map(lambda makers: lambda: collections.deque(make() for make in makers)),
        inner.map(lambda make: lambda: Pair([make()], 1)),
    )


VALUES = st.recursive(LEAVES | OBJECTS, collections_of, max_leaves=6)
ALIASES = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["same", "view", "listed"])), max_size=3)


def change(value, seen):
    """Change whatever can be changed in place, and return a description of all of it."""
    if id(value) in seen and not isinstance(value, str | float | int | None):  # their identity means nothing
        return "again"
    seen[id(value)] = value
    if isinstance(value, np.ndarray) and value.size and value.flags.writeable:
        value += np.array(1, value.dtype)
    elif isinstance(value, np.random.Generator | random.Random):
        return value.random()
    elif isinstance(value, np.random.RandomState):
        return value.rand()
    elif isinstance(value, gym.Space):
        return value.sample()
    elif isinstance(value, torch.Tensor):
        value += 1
    elif isinstance(value, Slotted):
        return value.bump()
    elif isinstance(value, bytearray):
        value.append(1)
    elif isinstance(value, Enemy):
        return change(value.position, seen), change(value.friends, seen)
    elif isinstance(value, dict):
        return [(key, change(item, seen)) for key, item in value.items()]
    elif isinstance(value, list | tuple | collections.deque):
        parts = [change(item, seen) for item in value]
        if not isinstance(value, tuple) and len(value) < 5:
            value.append(1)
        return parts
    return repr(value)


class Drawn(Base):
    def __init__(self, makers, aliases):
        self.makers = makers
        self.aliases = aliases

    def begin(self):
        self.values = [make() for make in self.makers]
        for index, how in self.aliases:
            value = self.values[index % len(self.values)]
            if how == "view" and isinstance(value, np.ndarray):
                value = value[::-1, 1:]
            self.values.append([value] if how == "listed" else value)

    def move(self):
        self.described = repr(change(self.values, {}))
        return 0


def drawn(makers, aliases):
    gym.register("tests/Drawn-v0", Drawn, kwargs={"makers": [], "aliases": aliases})
    try:
        env = vector("tests/Drawn-v0", n_stack=1)
    finally:
        del gym.registry["tests/Drawn-v0"]
    for each in env.get_attr("unwrapped"):
        each.makers = makers
    env.reset()
    return env


def history(env, steps):
    described = []
    for _ in range(steps):
        env.step([0, 1])
        described.append(env.get_attr("described"))
    return described


@pytest.mark.slow
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(VALUES, min_size=1, max_size=5), ALIASES, st.integers(0, 3))
def test_any_environment_of_plain_objects_is_restored(makers, aliases, steps):
    one, other = drawn(makers, aliases), drawn(makers, aliases)
    history(one, steps)
    for env in (one, other):
        for each in env.get_attr("unwrapped"):
            each.makers = []  # functions of the test
    restore(other, through_a_file(snapshot(one)))
    assert history(other, 4) == history(one, 4)


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(VALUES, max_size=3), OPAQUE, ALIASES)
def test_any_environment_with_an_opaque_object_is_refused(makers, opaque, aliases):
    env = drawn([*makers, opaque], aliases)
    with pytest.raises(NoSnapshotError):
        snapshot(env)
