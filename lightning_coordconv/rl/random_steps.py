"""Data set of a random agent's images, each labelled with the sum of the next rewards, for the command ``advise``."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_coordconv.core.extras import extra

with extra("rl", "environments"):
    from gymnasium import spaces
    from stable_baselines3.common.vec_env import VecEnv

COUNT = 3000
"""Observations that are collected."""
HORIZON = 20
"""Environment steps whose rewards are summed, and between two observations that are kept."""


class RandomSteps(Dataset[dict[str, Any]]):
    """Observations of an agent that acts at random, each with the sum of the rewards of the next ``HORIZON`` steps.

    The sum ends with the episode. Observations are kept at the start of an episode and every ``HORIZON`` steps. The
    environments are seeded, so the data are the same each time.

    A sample is a dict with ``image``, float32 (C, H, W) in [0, 1], ``reward_to_come``, a float, and ``episode``, an
    int.

    Args:
        env: environments that observe images (C, H, W) of uint8.
        seed: of the environments and the actions.
        count: number of observations.

    Raises:
        ValueError: if the observations are no such images.
    """

    def __init__(self, env: VecEnv, seed: int, count: int = COUNT) -> None:
        space = env.observation_space
        if not isinstance(space, spaces.Box) or len(space.shape) != 3 or space.dtype != np.uint8:
            raise ValueError(
                f"random steps are collected of images (C, H, W) of uint8, but the observations are {space}"
            )
        self.images: list[Tensor] = []
        self.rewards: list[float] = []
        self.episodes: list[int] = []
        env.seed(seed)
        env.action_space.seed(seed)
        observed: Any = env.reset()
        started = list(range(env.num_envs))  # numbers of the episodes
        seen = [self._keep(observed[index], started[index]) for index in range(env.num_envs)]
        age = [0] * env.num_envs
        while min(seen) < count:  # the last observation of each environment may lack rewards
            observed, rewards, done, _ = env.step(np.array([env.action_space.sample() for _ in age]))
            for index in range(env.num_envs):
                self.rewards[seen[index]] += float(rewards[index])
                age[index] += 1
                if done[index]:
                    started[index] = max(started) + 1
                if done[index] or age[index] == HORIZON:
                    seen[index], age[index] = self._keep(observed[index], started[index]), 0
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {
            "image": self.images[index],
            "reward_to_come": self.rewards[index],
            "episode": self.episodes[index],
        }

    def _keep(self, observation: Any, episode: int) -> int:
        """Keep an observation, and return its index."""
        self.images.append(torch.from_numpy(np.array(observation)).float() / 255)
        self.rewards.append(0.0)
        self.episodes.append(episode)
        return len(self.images) - 1
