"""Tests that the fast vector of Atari games equals Stable-Baselines3's and can be resumed; how ALE's vector differs."""

import numpy as np
import pytest
from stable_baselines3.common.env_util import make_atari_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecFrameStack, VecTransposeImage

from lightning_coordconv.rl.environments.atari import LeanAtariVecEnv
from lightning_coordconv.rl.environments.snapshots import restore, snapshot
from lightning_coordconv.rl.environments.vector import find, make

GAMES = ("Breakout", "Pong", "MsPacman", "Seaquest", "SpaceInvaders", "Qbert")
BARE = {"noop_max": 0, "frame_skip": 1, "screen_size": 42, "terminal_on_life_loss": False, "clip_reward": False}


def lean(name: str, n_envs: int, n_stack: int = 4, **wrapper) -> LeanAtariVecEnv:
    return make(find(f"{name}NoFrameskip-v4", "lean", {}, wrapper), n_envs, "lean", n_stack, wrapper)


def compare(name: str, steps: int, n_envs: int = 2, **wrapper) -> dict[str, int]:
    """Play both with the same actions, see that all is equal, and count what happened."""
    reference = make_atari_env(f"{name}NoFrameskip-v4", n_envs, seed=5, wrapper_kwargs=wrapper)
    reference = VecTransposeImage(VecFrameStack(reference, 4))
    ours = lean(name, n_envs, **wrapper)
    ours.seed(5)
    assert ours.observation_space == reference.observation_space
    assert ours.action_space == reference.action_space
    expected, found = reference.reset(), ours.reset()
    np.testing.assert_array_equal(found, expected)
    assert found.strides == expected.strides
    happened = {"ends": 0, "games": 0, "rewards": 0}
    rng = np.random.default_rng(0)
    for step in range(steps):
        actions = rng.integers(ours.action_space.n, size=n_envs)
        *expected, expected_infos = reference.step(actions)
        *found, infos = ours.step(actions)
        for theirs, mine in zip(expected, found, strict=True):
            assert mine.dtype == theirs.dtype
            np.testing.assert_array_equal(mine, theirs, err_msg=f"step {step}")
        happened["rewards"] += int((found[1] != 0).sum())
        for theirs, mine in zip(expected_infos, infos, strict=True):
            assert set(mine) == set(theirs)
            for key in ("lives", "frame_number", "episode_frame_number", "TimeLimit.truncated"):
                assert mine[key] == theirs[key], (step, key)
            if "episode" in theirs:
                happened["games"] += 1
                assert (mine["episode"]["r"], mine["episode"]["l"]) == (theirs["episode"]["r"], theirs["episode"]["l"])
            if "terminal_observation" in theirs:
                happened["ends"] += 1
                np.testing.assert_array_equal(mine["terminal_observation"], theirs["terminal_observation"])
    return happened


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "wrapper"), [(250, {}), (900, BARE)], ids=["as SB3", "bare"])
def test_lean_is_sb3_for_a_while(steps, wrapper):
    happened = compare("Breakout", steps, **wrapper)
    assert min(happened.values()) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", GAMES)
def test_lean_is_sb3_for_2000_steps(name):
    happened = compare(name, 2000)
    assert min(happened.values()) > 0


@pytest.mark.slow
def test_a_game_goes_on_from_its_state():
    env, other = lean("Breakout", 2), lean("Breakout", 2)
    env.seed(1)
    env.reset()
    other.reset()
    rng = np.random.default_rng(0)
    for _ in range(30):
        env.step(rng.integers(4, size=2))
    restore(other, snapshot(env))
    for _ in range(60):  # lives are lost and games end
        actions = rng.integers(4, size=2)
        for mine, theirs in zip(other.step(actions), env.step(actions), strict=True):
            np.testing.assert_equal(mine, theirs)


def test_vector_interface():
    env = lean("Pong", 2)
    assert env.env_is_wrapped(Monitor) == [True, True]
    assert env.get_attr("fires") == [True, True]
    env.set_attr("lives", 3, indices=[1])
    assert env.get_attr("lives") == [0, 3]
    assert env.env_method("render", indices=0)[0].shape == (210, 160, 3)
    assert env.get_images()[1].shape == (210, 160, 3)


@pytest.mark.slow
def test_ale_differs_as_documented():
    """Lives end episodes, scores are reported and the stack starts from zeros, as with SB3; pixels are others."""
    env = make(find("BreakoutNoFrameskip-v4", "ale", {}, {}), 2, "ale", 4)
    env.seed(3)
    first = env.reset()
    assert first.shape == (2, 4, 84, 84)
    assert not first[:, :3].any()
    assert first[:, 3].any(axis=(1, 2)).all()
    env.seed(3)
    np.testing.assert_array_equal(env.reset(), first)
    rng = np.random.default_rng(0)
    lost = games = 0
    for _ in range(400):
        observations, rewards, dones, infos = env.step(rng.integers(4, size=2))
        assert set(rewards) <= {-1.0, 0.0, 1.0}
        for i in np.flatnonzero(dones):
            lost += "episode" not in infos[i]
            assert not observations[i, :3].any()
            assert infos[i]["terminal_observation"].shape == (4, 84, 84)
            assert infos[i]["terminal_observation"][:3].any()
            if "episode" in infos[i]:
                games += 1
                assert infos[i]["episode"]["r"] >= 0
                assert infos[i]["episode"]["l"] > 20
    assert lost >= 4 * games > 0  # of five lives the last ends the game
    env.close()
