"""Environments go on from where others were."""

import io

import gymnasium as gym
import numpy as np
import pytest
import torch

from lightning_coordconv.rl.environments.snapshots import NoSnapshotError, restore, snapshot
from lightning_coordconv.rl.environments.vector import find, make


def vector(env_id: str, backend: str = "sb3", n_stack: int = 2, **wrapper):
    return make(find(env_id, backend, {}, wrapper), 2, backend, n_stack, wrapper)


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
        ("BreakoutNoFrameskip-v4", "sb3", 40),
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
    file = io.BytesIO()
    torch.save(snapshot(env), file)
    file.seek(0)
    restore(other, torch.load(file, weights_only=True))
    env.action_space.seed(1)
    expected = play(env, steps)
    assert any(step[2].any() for step in expected)  # an end, after which there is a reset
    other.action_space.seed(1)
    same(play(other, steps), expected)


def test_without_a_snapshot_the_future_is_another():
    env, other = vector("CartPole-v1"), vector("CartPole-v1")
    for each in (env, other):
        each.reset()
        each.action_space.seed(0)
    with pytest.raises(AssertionError):
        same(play(env, 3), play(other, 3))


class Opaque(gym.Env):
    observation_space = gym.spaces.Box(0, 1)
    action_space = gym.spaces.Discrete(2)
    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012  # as gymnasium declares it
    render_mode = "rgb_array"

    def __init__(self):
        self.engine = object()


def test_what_has_no_state():
    with pytest.raises(NoSnapshotError, match="AleVecEnv does not tell"):
        snapshot(vector("PongNoFrameskip-v4", "ale"))
    gym.register("tests/Opaque-v0", Opaque)
    with pytest.raises(NoSnapshotError, match=r"Opaque\.engine: a builtins\.object can't be kept"):
        snapshot(vector("tests/Opaque-v0", n_stack=1))
