"""Property tests of snapshots: environments of randomly drawn Python objects are restored exactly, or are refused.

An environment is drawn as a recipe of its attributes, with shared references.
"""

import collections
import random
import threading

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning_coordconv.rl.environments.snapshots import NoSnapshotError, restore, snapshot
from tests.rl.environments.python_environments import (
    Base,
    Direction,
    Enemy,
    Pair,
    Slotted,
    Ways,
)
from tests.rl.environments.snapshotted import through_a_file, vector

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


@pytest.mark.slow
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(VALUES, max_size=3), OPAQUE, ALIASES)
def test_any_environment_with_an_opaque_object_is_refused(makers, opaque, aliases):
    env = drawn([*makers, opaque], aliases)
    with pytest.raises(NoSnapshotError):
        snapshot(env)
