"""Public API of agents trained by SB3's A2C and PPO: tasks, data module, networks, loaded agent, videos, scores."""

import lightning_coordconv.rl.environments  # noqa: F401  # registers the games
from lightning_coordconv.rl.agent import Agent, load
from lightning_coordconv.rl.algorithms import A2C, PPO
from lightning_coordconv.rl.classes import PolicyArguments
from lightning_coordconv.rl.data import EnvironmentDataModule
from lightning_coordconv.rl.episodes import Episode, Evaluation
from lightning_coordconv.rl.policies import CoordConvNatureCNN, ImpalaCNN, SmallCNN
from lightning_coordconv.rl.scores import human_normalised_score
from lightning_coordconv.rl.video import AgentVideo

__all__ = [
    "A2C",
    "PPO",
    "Agent",
    "AgentVideo",
    "CoordConvNatureCNN",
    "EnvironmentDataModule",
    "Episode",
    "Evaluation",
    "ImpalaCNN",
    "PolicyArguments",
    "SmallCNN",
    "human_normalised_score",
    "load",
]
