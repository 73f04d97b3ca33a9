"""Wrapper that makes discrete spaces start at zero, as Stable-Baselines3 requires."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

Space = spaces.Space[Any]


class ZeroBased(gym.Wrapper[Any, Any, Any, Any]):
    """Shifts actions and observations of ``Discrete`` and ``MultiDiscrete`` spaces, so that they start at zero.

    SB3 ignores a space's ``start``: it would take the actions 0, 1, 2 of ``Discrete(3, start=-1)``, whose actions are
    -1, 0, 1, and encode its observations wrongly.

    Args:
        env: the environment. Observations can also be dicts of such spaces.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.action_space = _shifted(env.action_space)
        self.observation_space = _shifted(env.observation_space)

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        """Return the shifted first observation."""
        observation, info = self.env.reset(**arguments)
        return _to_zero(observation, self.env.observation_space), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take the action that a shifted one stands for, and return a shifted observation."""
        if isinstance(self.env.action_space, spaces.Discrete | spaces.MultiDiscrete):
            action = self.env.action_space.start + action
        observation, *rest = self.env.step(action)
        return _to_zero(observation, self.env.observation_space), *rest


def zero_based(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """Return the environment, wrapped if one of its spaces does not start at zero."""
    shifted = any(_shifted(space) is not space for space in (env.action_space, env.observation_space))
    return ZeroBased(env) if shifted else env


def _shifted(space: Space) -> Space:
    """Return the space that starts at zero, which is the same object if it already does."""
    if isinstance(space, spaces.Dict):
        inner = {name: _shifted(entry) for name, entry in space.items()}
        same = all(inner[name] is entry for name, entry in space.items())
        return space if same else spaces.Dict(list(inner.items()))
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete) and np.any(space.start):
        return spaces.Discrete(space.n) if isinstance(space, spaces.Discrete) else spaces.MultiDiscrete(space.nvec)
    return space


def _to_zero(value: Any, space: Space) -> Any:
    if isinstance(space, spaces.Dict):
        return {name: _to_zero(value[name], entry) for name, entry in space.items()}
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return value - space.start
    return value
