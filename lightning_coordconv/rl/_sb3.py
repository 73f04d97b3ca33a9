"""Functions that wrap Stable-Baselines3's private names: for the steps of ``learn``, and for its vector environments.

SB3 nests its training loop in ``learn``. To run the same loop under Lightning, the steps of ``learn`` are called one by
one, and the counters that it keeps are saved and restored. ``tests/rl/test_sb3.py`` names what a new release removed.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightning_coordconv.core.extras import extra

with extra("rl", "agents"):
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.logger import Logger
    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
    from stable_baselines3.common.vec_env import VecEnv
    from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

COUNTERS = ("num_timesteps", "_episode_num", "_n_updates", "_last_obs", "_last_episode_starts")
VECTOR_METHODS = ("_reset_seeds", "_get_indices")
METHODS = ("_setup_model", "_setup_learn", "_update_learning_rate", "_update_current_progress_remaining")


def make_algorithm(
    kind: type[OnPolicyAlgorithm],
    policy: str,
    env: VecEnv | None,
    spaces: tuple[Any, Any],
    arguments: dict[str, Any],
) -> OnPolicyAlgorithm:
    """Make an algorithm with its policy; without environments, for given spaces, as SB3's ``load`` does.

    Args:
        kind: A2C or PPO.
        policy: SB3's name of the policy.
        env: environments, or ``None``.
        spaces: of observations and actions.
        arguments: of the algorithm's constructor.
    """
    algorithm = kind(policy, env, _init_setup_model=False, **arguments)  # type: ignore[arg-type]
    if env is None:
        algorithm.observation_space, algorithm.action_space = spaces
        algorithm.n_envs = 1
    algorithm._setup_model()
    return algorithm


def begin_learning(algorithm: OnPolicyAlgorithm, total_timesteps: int) -> BaseCallback:
    """Reset counters and environments as ``learn`` does, and return the callback that collection calls."""
    algorithm.set_logger(Logger(folder=None, output_formats=[]))  # the one of learn leaves an empty folder in /tmp
    _, callback = algorithm._setup_learn(total_timesteps, reset_num_timesteps=True)
    return callback


def reset_environments(algorithm: OnPolicyAlgorithm) -> None:
    """Start new episodes in all environments."""
    assert algorithm.env is not None
    algorithm._last_obs = algorithm.env.reset()  # type: ignore[assignment]
    algorithm._last_episode_starts = np.ones(algorithm.n_envs, dtype=bool)


def copy_minibatches_with(algorithm: OnPolicyAlgorithm, copy: Callable[[NDArray[Any]], Tensor]) -> None:
    """Let a function copy each array of a minibatch to the device, for which the buffer's own method would wait."""
    algorithm.rollout_buffer.to_torch = lambda array, *_: copy(array)  # type: ignore[method-assign]


def count_update(algorithm: OnPolicyAlgorithm) -> None:
    """Count a pass over a rollout."""
    algorithm._n_updates += 1


def set_progress(algorithm: OnPolicyAlgorithm, timesteps: int, total_timesteps: int) -> None:
    """Set how much of the run is left, of which the schedules are functions."""
    algorithm._update_current_progress_remaining(timesteps, total_timesteps)


def progress_remaining(algorithm: OnPolicyAlgorithm) -> float:
    """Return how much of the run is left, from 1 to 0."""
    return algorithm._current_progress_remaining


def update_learning_rate(algorithm: OnPolicyAlgorithm) -> None:
    """Set the optimiser's learning rate by its schedule."""
    algorithm._update_learning_rate(algorithm.policy.optimizer)


def get_counters(algorithm: OnPolicyAlgorithm) -> dict[str, Any]:
    """Return the counters of ``learn``, and the observations that the next action answers."""
    return {name: getattr(algorithm, name) for name in COUNTERS}


def set_counters(algorithm: OnPolicyAlgorithm, state: dict[str, Any]) -> None:
    """Undo :func:`get_counters`."""
    for name in COUNTERS:
        setattr(algorithm, name, state[name])


def had_normalizer(attributes: Mapping[str, Any]) -> bool:
    """Return whether the attributes of an algorithm tell of training with ``VecNormalize``, and not without it."""
    return attributes.get("_last_original_obs") is not None  # what that saw


def take_seeds(env: VecEnv) -> list[int | None]:
    """Return the seeds that the next reset of each environment uses, and forget them."""
    seeds = env._seeds
    env._reset_seeds()
    return seeds


def selected(env: VecEnv, indices: VecEnvIndices) -> Iterable[int]:
    """Return the numbers of the environments that ``indices`` names; all of them for ``None``."""
    return env._get_indices(indices)
