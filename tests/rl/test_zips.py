"""Tests of what of a Stable-Baselines3 zip is compared with the agent that gets its weights."""

from contextlib import nullcontext

import numpy as np
import pytest
import stable_baselines3 as sb3
import torch
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import VecNormalize

from lightning_coordconv.rl import A2C, PPO, SmallCNN
from tests.rl.agents import equal, weights


class Doubled(SmallCNN):
    """Computes something else with the same weights."""

    def forward(self, observations):
        return 2 * super().forward(observations)


class Renamed(SmallCNN):
    """Computes the same."""


def hand_on(agents, saved, given, change, folder):
    """Build an agent in some spaces, and another in other spaces that starts from its zip: what differs is said."""
    first, second = agents
    first._build(*saved)
    first.algorithm.save(folder / "agent.zip")
    second.initial_weights = str(folder / "agent.zip")
    with pytest.warns(UserWarning, match=f"other spaces: {change}") if change else nullcontext():
        second._build(*given)
    return equal(weights(first.policy), weights(second.policy))


@pytest.mark.parametrize(("saved", "given"), [
    (spaces.Discrete(5), spaces.MultiDiscrete([2, 3])),
    (spaces.MultiDiscrete([3, 2]), spaces.MultiDiscrete([2, 3])),
    (spaces.MultiBinary(5), spaces.Discrete(5)),
])  # fmt: skip
def test_a_zip_of_as_many_actions_of_another_kind_is_refused(saved, given, tmp_path):
    observations = spaces.Box(-1, 1, (3,))

    def start(actions, zip=None):
        task = A2C(1, "MlpPolicy", initial_weights=zip)
        task._build(observations, actions)
        return task

    start(saved).algorithm.save(tmp_path / "agent.zip")
    start(saved, str(tmp_path / "agent.zip"))
    with pytest.raises(ValueError, match=rf"agent\.zip holds a policy with 5 actions of {type(saved).__name__}"):
        start(given, str(tmp_path / "agent.zip"))


@pytest.mark.parametrize(("saved", "given", "change"), [
    (spaces.Box(-0.5, 0.5, (2,)), spaces.Box(-2, 2, (2,)), r"high is \[2. 2.\], and was \[0.5 0.5\]; .*\.low is"),
    (spaces.Discrete(3), spaces.Discrete(3, start=1), "start is 1, and was 0"),
    (spaces.Discrete(3), spaces.Discrete(3), None),
])  # fmt: skip
def test_a_zip_of_other_actions_is_named(saved, given, change, tmp_path):
    observations = spaces.Box(-1, 1, (3,))
    agents = [(A2C if isinstance(saved, spaces.Discrete) else PPO)(1, "MlpPolicy") for _ in range(2)]
    assert hand_on(agents, (observations, saved), (observations, given), change and f"action_space.{change}", tmp_path)


@pytest.mark.parametrize(("saved", "given", "change"), [
    (spaces.Box(0, 255, (3,), np.uint8), spaces.Box(0, 255, (3,)), "dtype is float32, and was uint8"),
    (spaces.Box(-1, 1, (3,)), spaces.Box(-5, 5, (3,)), None),
    ({"a": 1, "b": 1}, {"speed": 1, "place": 1}, r"spaces is .*'place'.*, and was .*'a'"),
    ({"a": 1, "b": 1}, {"a": 1, "b": 1}, None),
])  # fmt: skip
def test_a_zip_of_other_observations_is_named(saved, given, change, tmp_path):
    if isinstance(saved, dict):
        saved, given = (spaces.Dict({name: spaces.Box(-1, 1) for name in names}) for names in (saved, given))
    policy = "MultiInputPolicy" if isinstance(saved, spaces.Dict) else "MlpPolicy"
    actions, agents = spaces.Discrete(2), [A2C(1, policy) for _ in range(2)]
    assert hand_on(agents, (saved, actions), (given, actions), change and f"observation_space.{change}", tmp_path)


@pytest.mark.parametrize(("options", "change"), [
    ({"activation_fn": torch.nn.ReLU}, r"policy_kwargs\.activation_fn is .*ReLU.*, and was .*Tanh"),
    ({"features_extractor_kwargs": {"pool": "mean"}}, r"features_extractor_kwargs\.pool is mean, and was max"),
    ({"features_extractor_kwargs": {"stride": 1}}, r"features_extractor_kwargs\.stride is 1, and was 3"),
    ({"features_extractor_class": Doubled}, r"features_extractor_class is .*Doubled'>, and was .*SmallCNN'>"),
    ({"features_extractor_class": Renamed}, None),
    ({"net_arch": [4], "ortho_init": False}, None),
])  # fmt: skip
def test_a_zip_says_by_which_options_its_policy_computed_something_else(options, change, tmp_path):
    observations, actions = spaces.Box(0, 255, (3, 12, 12), np.uint8), spaces.Discrete(2)
    known = {"features_extractor_class": SmallCNN, "net_arch": [4]}
    first, second = A2C(1, policy_kwargs=known), A2C(1, policy_kwargs=known | options)
    first._build(observations, actions)
    first.algorithm.save(tmp_path / "agent.zip")
    second.initial_weights = str(tmp_path / "agent.zip")
    with pytest.warns(UserWarning, match=change) if change else nullcontext():
        second._build(observations, actions)
    assert equal(weights(first.policy), weights(second.policy))


def test_a_zip_of_an_extractor_without_weights_is_named(tmp_path):
    class Scaled(FlattenExtractor):
        def forward(self, observations):
            return 100 * super().forward(observations)

    vector, options = make_vec_env("CartPole-v1", 1), {"features_extractor_class": Scaled}
    agent = sb3.A2C("MlpPolicy", vector, policy_kwargs=options)
    agent.save(tmp_path / "scaled.zip")
    task = A2C(1, "MlpPolicy", initial_weights=str(tmp_path / "scaled.zip"))
    with pytest.warns(UserWarning, match=r"features_extractor_class is .*FlattenExtractor'>, and was .*Scaled'>"):
        task._build(vector.observation_space, vector.action_space)
    assert equal(weights(agent.policy), weights(task.policy))


@pytest.mark.parametrize("normalised", [True, False])
def test_a_zip_whose_policy_saw_normalised_observations_is_named(normalised, tmp_path):
    vector = make_vec_env("CartPole-v1", 2)
    agent = sb3.A2C("MlpPolicy", VecNormalize(vector) if normalised else vector)
    agent.learn(20).save(tmp_path / "agent.zip")
    task = A2C(1, "MlpPolicy", initial_weights=str(tmp_path / "agent.zip"))
    with pytest.warns(UserWarning, match="was trained with VecNormalize") if normalised else nullcontext():
        task._build(vector.observation_space, vector.action_space)
    assert equal(weights(agent.policy), weights(task.policy))
