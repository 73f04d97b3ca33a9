"""What environments in this process need to go on exactly where they were, as tensors and numbers."""

import inspect
from collections.abc import Iterator
from enum import Enum
from typing import Any

import ale_py
import gymnasium as gym
from gymnasium.envs.registration import EnvSpec
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.stacked_observations import StackedObservations

from lightning_coordconv.core.state_codec import decode_state, encode_state
from lightning_coordconv.rl.environments.atari import LeanAtariVecEnv

# what environments hold and no episode changes
FIXED = (gym.Space, gym.Env, VecEnv, EnvSpec, Enum, type)


class NoSnapshotError(TypeError):
    """The state of these environments can't be saved."""


def snapshot(env: VecEnv) -> list[Any]:
    """Return the state of environments in this process.

    It is that of every layer: vector wrappers, gymnasium wrappers, the environment itself and the emulator below,
    found in their attributes.

    Args:
        env: wrappers around a ``DummyVecEnv`` or a :class:`LeanAtariVecEnv`.

    Raises:
        NoSnapshotError: for environments in other processes, in C++, or with attributes that are no plain data.
    """
    return [_save(layer) for layer in list(_layers(env))]


def restore(env: VecEnv, state: list[Any]) -> None:
    """Put environments into a state that :func:`snapshot` returned of others of the same kind."""
    for layer, saved in zip(_layers(env), state, strict=True):
        _load(layer, saved)


def _layers(env: VecEnv) -> Iterator[Any]:
    while isinstance(env, VecEnvWrapper):
        yield env
        env = env.venv
    yield env
    if isinstance(env, DummyVecEnv):
        for single in env.envs:
            while isinstance(single, gym.Wrapper):
                yield single
                single = single.env
            yield single
    elif not isinstance(env, LeanAtariVecEnv):
        raise NoSnapshotError(f"a {type(env).__name__} does not tell the state of its environments")


def _save(layer: Any) -> Any:
    if isinstance(layer, LeanAtariVecEnv):
        return layer.state_dict()
    state = {}
    for name, value in vars(layer).items():
        if isinstance(value, ale_py.ALEInterface):
            state[name] = encode_state(value.cloneState(include_rng=True).serialize())
        elif isinstance(value, StackedObservations):
            state[name] = _save(value)
        elif name != "class_attributes" and not _is_fixed(value):  # VecEnvWrapper's list of its own members
            try:
                state[name] = encode_state(value)
            except TypeError as error:
                raise NoSnapshotError(f"{type(layer).__name__}.{name}: {error}") from error
    return state


def _load(layer: Any, state: Any) -> None:
    if isinstance(layer, LeanAtariVecEnv):
        layer.load_state_dict(state)
        return
    for name, saved in state.items():
        value = vars(layer).get(name)
        if isinstance(value, ale_py.ALEInterface):
            value.restoreState(ale_py.ALEState(decode_state(saved)))
        elif isinstance(value, StackedObservations):
            _load(value, saved)
        else:
            vars(layer)[name] = decode_state(saved)


def _is_fixed(value: Any) -> bool:
    if isinstance(value, list | tuple) and value:
        return all(map(_is_fixed, value))
    return isinstance(value, FIXED) or inspect.isroutine(value)
