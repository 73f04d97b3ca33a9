"""Tests of the data set of a random agent's steps, and of the advice whether an agent's network needs coordinates."""

import json

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from lightning_coordconv.position import advise
from lightning_coordconv.rl import A2C, EnvironmentDataModule, SmallCNN, load
from lightning_coordconv.rl.random_steps import HORIZON, RandomSteps
from tests.rl.agents import write

POLICY = {"features_extractor_class": SmallCNN, "features_extractor_kwargs": {"where": []}}


class BrightnessEnv(gym.Env):
    """A square at a random place, whose brightness is the reward of any action: a game without positions."""

    observation_space = spaces.Box(0, 255, (1, 24, 24), np.uint8)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        self.image = np.zeros((1, 24, 24), np.uint8)
        row, column = self.np_random.integers(0, 18, 2)
        self.image[:, row : row + 6, column : column + 6] = self.np_random.integers(60, 256)
        return self.image, {}

    def step(self, action):
        self.steps += 1
        return self.image.copy(), float(self.image.max()) / 255, self.steps == 4, False, {}


gym.register("tests/Brightness-v0", BrightnessEnv)


def game(name="lightning_coordconv/FindAndTouch-v0", **options):
    return EnvironmentDataModule(name, n_envs=8, **options)


def collect(data, count, seed=0):
    data.setup("fit")
    return RandomSteps(data.train_env, seed, count)


def test_the_rewards_are_those_that_follow():
    found = collect(game("tests/Brightness-v0"), 100)
    for sample in (found[index] for index in range(len(found))):
        assert sample["image"].shape == (1, 24, 24)
        assert sample["reward_to_come"] == pytest.approx(4 * float(sample["image"].max()))  # an episode has 4 steps


def test_long_episodes_are_seen_several_times_under_one_number():
    found = collect(game(env_kwargs={"size": 36, "max_steps": 2 * HORIZON}), 60)
    episodes = [found[index]["episode"] for index in range(60)]
    assert 1 < max(map(episodes.count, episodes)) <= 2
    costs = [found[index]["reward_to_come"] for index in range(60)]
    assert min(costs) == pytest.approx(-0.02 * HORIZON)
    assert max(costs) <= 1


def test_the_seed_fixes_what_is_seen():
    first, again, other = (collect(game(env_kwargs={"size": 24}), 40, seed) for seed in (3, 3, 4))
    assert first.rewards == again.rewards
    assert all(map(torch.equal, first.images, again.images))
    assert not all(map(torch.equal, first.images, other.images))


def test_observations_that_are_no_images_are_refused():
    with pytest.raises(ValueError, match="random steps are collected of images"):
        EnvironmentDataModule("CartPole-v1").dataset("train")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "convert"), [("lightning_coordconv/FindAndTouch-v0", True), ("tests/Brightness-v0", False)]
)
def test_advice_on_agents_that_pool(name, convert):
    options = {"env_kwargs": {"size": 24}} if convert else {}
    task = A2C(total_timesteps=1, policy_kwargs=POLICY)
    advice = advise(task, game(name, **options), num_images=2000)
    assert advice.convert is convert
    assert advice.where == (["cnn.0", "cnn.4"] if convert else [])


@pytest.mark.slow
def test_the_command_reads_the_weights_of_an_agent(tmp_path, capsys, cli):
    config = write(tmp_path, "A2C", 4, n_envs=8)
    cli("fit", "-c", config, "--trainer.max_steps=4", "--trainer.limit_val_batches=0")
    path = tmp_path / "checkpoints" / "step=4.ckpt"
    given = ("advise", "-c", config, "--images", "40", "--readout_images", "8", "--checkpoint")
    cli(*given, path)
    found = json.loads((tmp_path / "advice" / "advice.json").read_text())
    assert found["sentences"] == advise(load(path).task, game(), 40, 8).sentences
    torch.save({"state_dict": {"net.weight": torch.zeros(1)}}, tmp_path / "other.ckpt")
    with pytest.raises(SystemExit):
        cli(*given, tmp_path / "other.ckpt")
    assert "holds weights of another architecture" in capsys.readouterr().err
