"""Functions that play evaluation episodes with a policy, with limits of steps and optionally from a seed."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from pytorch_lightning.utilities import rank_zero_warn
from pytorch_lightning.utilities.seed import isolate_rng

from lightning_coordconv.core.extras import extra

with extra("rl", "agents"):
    from stable_baselines3.common.policies import BasePolicy
    from stable_baselines3.common.vec_env import VecEnv


class Episodes(NamedTuple):
    """The rewards and lengths of episodes, and how many of them were cut, at the limit of steps.

    The episodes of the first environment come first, whichever ends first, so the first one is the one that is filmed.
    Lengths are those of the monitor: of Atari games screens, of which an agent sees every fourth.
    """

    rewards: list[float]
    lengths: list[int]
    cut: int


def play_episodes(
    policy: BasePolicy,
    env: VecEnv,
    episodes: int,
    deterministic: bool,
    max_steps: int,
    interrupted: Callable[[], bool] = lambda: False,
) -> Episodes:
    """Play episodes as SB3's ``evaluate_policy`` does, and give up those that do not end.

    An episode is a whole game, where a lost life ends an episode of training. While no episode is longer than the limit
    the results are those of SB3, except for fewer episodes than environments: SB3 plays them in the last environments,
    this function in the first, which is filmed. A longer episode is cut: it counts with its reward so far, and once
    every environment has played its share or was cut, all are reset and the missing episodes are played.

    Args:
        policy: chooses the actions.
        env: monitored environments, among which the episodes are divided.
        episodes: how many to play.
        deterministic: whether to take the most probable action instead of sampling one.
        max_steps: the limit of an episode, in steps.
        interrupted: asked before each step; if it returns true, the episodes finished so far are returned.
    """
    owed = np.array([(episodes + i) // env.num_envs for i in range(env.num_envs)])
    if episodes < env.num_envs:
        owed = owed[::-1].copy()
    played: list[tuple[int, float, int]] = []  # environment, reward and length
    cut = 0
    while owed.any() and not interrupted():
        observations = start_games(env)
        starts = np.ones(env.num_envs, dtype=bool)
        steps = np.zeros(env.num_envs, dtype=np.int64)
        active = owed > 0
        while active.any() and not interrupted():
            actions, _ = policy.predict(observations, episode_start=starts, deterministic=deterministic)
            observations, _, starts, infos = env.step(actions)
            steps += 1
            for i in np.flatnonzero(active).tolist():
                over = infos[i].get("episode") if starts[i] else None
                if over:
                    played.append((i, float(over["r"]), int(over["l"])))
                elif steps[i] >= max_steps:
                    (found,) = env.get_attr("rewards", i)  # of the monitor: raw, since reset
                    played.append((i, float(sum(found)), len(found)))
                    cut += 1
                else:
                    continue
                owed[i] -= 1
                active[i] = bool(over) and owed[i] > 0
                steps[i] = 0
    played.sort(key=lambda episode: episode[0])
    return Episodes([reward for _, reward, _ in played], [length for *_, length in played], cut)


def play_seeded(
    policy: BasePolicy,
    env: VecEnv,
    episodes: int,
    seed: int,
    deterministic: bool,
    max_steps: int,
    interrupted: Callable[[], bool] = lambda: False,
) -> Episodes:
    """Play episodes that depend only on the policy and the seed: see :func:`seeded`.

    Args:
        policy: see :func:`play_episodes` for this and the following.
        env: monitored environments.
        episodes: how many to play.
        seed: of the first environment, and of the actions.
        deterministic: whether to take the most probable action instead of sampling one.
        max_steps: the limit of an episode; a warning says how many reached it.
        interrupted: asked before each step.
    """
    with seeded(env, seed):
        played = play_episodes(policy, env, episodes, deterministic, max_steps, interrupted)
    if played.cut:
        rank_zero_warn(
            f"{played.cut} of {episodes} episodes were cut after max_eval_steps={max_steps} steps; they count with "
            "their reward so far"
        )
    return played


@contextmanager
def seeded(env: VecEnv, seed: int) -> Iterator[None]:
    """Return a context in which episodes depend only on the policy and the seed; random states of the process are kept.

    The generators are those of all threads: enter :func:`~lightning_coordconv.rl.precision.policy_calls` first.
    Environments in processes that draw from the global generators of numpy or Python, and not from their own, are
    beyond the reach of the seed.
    """
    with isolate_rng():
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # from which an environment may draw, in place of its own generator
        random.seed(seed)
        env.seed(seed)
        yield


def start_games(env: VecEnv) -> Any:
    """Return the first observations of new games; a reset of Atari games alone would go on with the next life."""
    if env.has_attr("was_real_done"):  # of a wrapper of SB3's; set_attr would set it on the outermost one
        env.env_method("set_wrapper_attr", "was_real_done", True)
    if env.has_attr("game_is_over"):  # of AtariGame
        env.set_attr("game_is_over", True)
    return env.reset()
