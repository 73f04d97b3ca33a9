"""Tests of evaluating agents: endless episodes, seeds, interruption, statistics; and of agents on dict observations."""

import os
import random
import signal
import sys
import time

import gymnasium as gym
import numpy as np
import pytest
import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException

from lightning_coordconv.rl import A2C
from lightning_coordconv.rl.environments.vector import find, make
from lightning_coordconv.rl.evaluation import Episodes, play_episodes, play_seeded, seeded
from lightning_coordconv.rl.frames import play_frames
from lightning_coordconv.runtime.callbacks.randomness import RandomState
from tests.forks import Fork
from tests.rl.agents import data, equal, trainer, weights

pytestmark = pytest.mark.filterwarnings("ignore:.isinstance.treespec:FutureWarning")


class Endless(gym.Env):
    """Every second episode ends after three steps, the others never; each step is worth 1."""

    observation_space = gym.spaces.Box(0, 1, (2,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, ends=True):
        self.ends, self.episode = ends, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.episode = 0, self.episode + 1
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        over = self.ends and self.episode % 2 == 1 and self.steps == 3
        return np.zeros(2, np.float32), 1.0, over, False, {}


class Still:
    def predict(self, observations, **_):
        return np.zeros(len(observations), int), None


def endless(n_envs, **arguments):
    gym.register("tests/Endless-v0", Endless)
    return make(find("tests/Endless-v0", "sb3", arguments, {}), n_envs)


@pytest.mark.parametrize("n_envs", [1, 2, 3])
def test_long_episodes_are_cut_and_count_with_their_reward_so_far(n_envs):
    played = play_episodes(Still(), endless(n_envs), 6, deterministic=True, max_steps=10)
    assert len(played.rewards) == 6
    assert played.rewards == played.lengths
    assert set(played.rewards) == {3, 10}
    assert played.cut == played.rewards.count(10) > 0


@pytest.mark.slow
def test_a_cut_game_of_atari_is_not_continued():
    env = make(find("BreakoutNoFrameskip-v4", "lean", {}, {}), 1, "lean", 4)
    played = play_episodes(Still(), env, 2, deterministic=True, max_steps=12)
    assert played.cut == 2
    assert env.get_attr("lives") == [5]
    # screens since the start of each game, as of one that ends: noops and FIRE, then 12 steps of four
    assert played.lengths[1] == len(env.get_attr("rewards")[0])
    assert all(12 * 4 < length < 2 * 12 * 4 for length in played.lengths)


def test_an_interrupted_evaluation_returns_what_was_finished():
    asked = iter(range(100))
    played = play_episodes(Still(), endless(1), 6, True, max_steps=10, interrupted=lambda: next(asked) > 8)
    assert played.rewards == [3]


def test_cut_episodes_are_counted_and_said(tmp_path):
    endless(1)
    task = A2C(40, "MlpPolicy")
    run = trainer(tmp_path, limit_val_batches=1)
    module = data(2, "tests/Endless-v0", max_eval_steps=20, eval_episodes=4)
    with pytest.warns(UserWarning, match="2 of 4 episodes were cut after max_eval_steps=20 steps"):
        run.fit(task, module)
    assert run.callback_metrics["val/episodes_cut"] == 2
    assert run.callback_metrics["val/reward"] == (3 + 20) / 2


class Careless(gym.Env):
    """Draws its rewards from the global generators."""

    observation_space, action_space = gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), np.random.rand() + random.random(), True, False, {}


def test_an_environment_that_draws_from_global_generators_is_evaluated_alike():
    gym.register("tests/Careless-v0", Careless)
    env = make(find("tests/Careless-v0", "sb3", {}, {}), 2)
    states = random.getstate(), np.random.get_state()[1].tolist()
    first, second, other = (play_seeded(Still(), env, 4, seed, True, 10) for seed in (3_000_000_000, 3_000_000_000, 5))
    assert first == second != other
    assert len(set(first.rewards)) == 4
    assert states == (random.getstate(), np.random.get_state()[1].tolist())


def test_an_interrupted_evaluation_counts_nowhere(tmp_path, monkeypatch, caplog):
    endless(1)
    task = A2C(20, "MlpPolicy")
    monkeypatch.setattr(task, "_interrupted", lambda: True)
    run = trainer(tmp_path, limit_val_batches=1)
    with pytest.raises(SIGTERMException), caplog.at_level("INFO"):
        run.fit(task, data(2, "tests/Endless-v0", env_kwargs={"ends": False}))
    assert "evaluation was interrupted after 0 of 2 episodes" in caplog.text
    assert not any(name.startswith("val/") for name in run.callback_metrics)


def test_the_deviation_of_large_rewards_is_exact(tmp_path, monkeypatch):
    """The mean of squares less the square of the mean would be 0 in double precision."""
    endless(1)
    task = A2C(20, "MlpPolicy")
    monkeypatch.setattr(task, "play", lambda episodes, stage: Episodes([1e9, 1e9 + 1], [5, 7], 0))
    run = trainer(tmp_path, limit_val_batches=1)
    run.validate(task, data(2, "tests/Endless-v0", env_kwargs={"ends": True}), verbose=False)
    assert run.callback_metrics["val/reward"] == pytest.approx(1e9)
    assert run.callback_metrics["val/reward_std"] == 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("env_id", "known"), [("Skiing-v9", False), ("ale_py:ALE/Pong-v5", True)])
def test_a_score_is_human_normalised_in_games_of_atari_whatever_the_name(env_id, known, tmp_path, monkeypatch):
    game = {"wrapper_kwargs": {"frame_skip": 1}} if known else {}
    if not known:
        gym.register(env_id, Endless)
    task = A2C(20, "CnnPolicy" if known else "MlpPolicy")
    monkeypatch.setattr(task, "play", lambda episodes, stage: Episodes([14.6, 14.6], [5, 7], 0))
    run = trainer(tmp_path, limit_val_batches=1)
    run.validate(task, data(1, env_id, **game), verbose=False)
    assert ("val/human_normalised" in run.callback_metrics) is known
    assert run.callback_metrics["val/episode_length"] == 6


PROGRAM = """
import pathlib
import lightning_coordconv.rl, gymnasium, tests.rl.test_evaluation as t
from lightning_coordconv.runtime.cli import main

class Noted(t.Endless):
    def step(self, action):
        if self.steps == 1000:  # training takes 10 steps
            pathlib.Path("evaluation").touch()
        return super().step(action)

gymnasium.register("tests/Endless-v0", Noted)
main(["fit", "-c", "{config}"])
"""
CONFIG = """
model: {class_path: lightning_coordconv.rl.A2C, init_args: {total_timesteps: 1000, policy: MlpPolicy}}
data:
  class_path: lightning_coordconv.rl.EnvironmentDataModule
  init_args: {env_id: tests/Endless-v0, env_kwargs: {ends: false}, max_eval_steps: 100000000, rollouts_per_epoch: 2}
trainer: {accelerator: cpu, max_epochs: -1, num_sanity_val_steps: 0, enable_progress_bar: false}
"""


@pytest.mark.slow
def test_an_endless_evaluation_leaves_on_sigterm_with_a_checkpoint(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in [os.getcwd(), *sys.path] if path)}
    process = Fork(["-c", PROGRAM.replace("{config}", str(config))], tmp_path, environment, tmp_path / "output")
    try:
        deadline = time.monotonic() + 240
        while not (tmp_path / "evaluation").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        code = process.wait(120)
    finally:
        process.kill()
    output = (tmp_path / "output").read_text()
    assert code == 75, output
    assert "evaluation was interrupted after 0 of 10 episodes" in output
    (last,) = tmp_path.rglob("last.ckpt")
    assert torch.load(last, weights_only=True)["global_step"] == 2


class Mixed(gym.Env):
    """Observes an image and a vector, and ends after five steps."""

    observation_space = gym.spaces.Dict(
        image=gym.spaces.Box(0, 255, (3, 36, 36), np.uint8),
        speed=gym.spaces.Box(-1, 1, (2,)),
        gear=gym.spaces.Discrete(3),
    )
    action_space = gym.spaces.Discrete(3, start=-1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.see(), {}

    def see(self):
        image = self.np_random.integers(0, 256, (3, 36, 36)).astype(np.uint8)
        return {"image": image, "speed": np.zeros(2, np.float32), "gear": self.steps % 3}

    def step(self, action):
        self.steps += 1
        return self.see(), float(action), self.steps == 5, False, {}


@pytest.mark.slow
def test_dict_observations_are_saved_and_resumed(tmp_path):
    gym.register("tests/Mixed-v0", Mixed)

    def fit(steps, ckpt_path=None):
        torch.manual_seed(0)
        task = A2C(200, "MultiInputPolicy")
        run = trainer(tmp_path, max_steps=steps, callbacks=[RandomState()])
        run.fit(task, data(2, "tests/Mixed-v0"), ckpt_path=ckpt_path)
        return run, task

    _, straight = fit(8)
    run, _ = fit(4)
    run.save_checkpoint(tmp_path / "cut.ckpt")
    _, resumed = fit(8, tmp_path / "cut.ckpt")
    assert equal(weights(straight.policy), weights(resumed.policy))
    restored = A2C.load_from_checkpoint(tmp_path / "cut.ckpt", weights_only=True)
    assert restored.policy.observation_space["image"] == Mixed.observation_space["image"]


@pytest.mark.parametrize("policy", ["MlpPolicy", "CnnPolicy"])
def test_dict_observations_need_their_policy(policy, tmp_path):
    gym.register("tests/Mixed-v0", Mixed)
    with pytest.raises(ValueError, match=f"policy must be MultiInputPolicy for the .*, got '{policy}'"):
        trainer(tmp_path).fit(A2C(20, policy), data(2, "tests/Mixed-v0"))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["sb3", "lean", pytest.param("subproc", marks=pytest.mark.slow)])
def test_episodes_and_videos_start_new_games_where_a_life_was_lost(backend):
    """A reset of SB3's wrapper goes on with the next life: the score would be that of a part of another game."""
    env = make(find("BreakoutNoFrameskip-v4", backend, {}, {}), 1, backend)

    def play():
        first = next(play_frames(Still(), env, deterministic=True, max_steps=1))[0]
        return first, play_episodes(Still(), env, 1, deterministic=True, max_steps=1000)

    try:
        with seeded(env, 0):
            before, played = play()
        for _ in range(100):
            _, _, ends, infos = env.step(np.array([3]))
            if ends[0]:
                break
        assert infos[0]["lives"] > 0
        with seeded(env, 0):
            after, again = play()
    finally:
        env.close()
    np.testing.assert_array_equal(before, after)
    assert again == played
