"""Functions for tests of snapshots: make environments, play, compare steps, and pass a snapshot through a file."""

import io

import gymnasium as gym
import numpy as np
import torch

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


def register(kind):
    name = f"tests/{kind.__name__}-v0"
    if name not in gym.registry:
        gym.register(name, kind)
    return vector(name, n_stack=1)
