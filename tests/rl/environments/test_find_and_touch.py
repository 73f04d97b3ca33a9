"""Tests of the environment FindAndTouch: images, rewards of the shortest way, borders, limit of steps, sizes."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import lightning_coordconv.rl.environments  # noqa: F401  # registers it
from lightning_coordconv.rl.environments.find_and_touch import FindAndTouchEnv


def where(image: np.ndarray) -> tuple[int, int]:
    """Return the top left corner of a square of 3x3 pixels, all there is in an image (H, W)."""
    rows, columns = np.nonzero(image)
    assert len(rows) == 9
    return rows.min(), columns.min()


def towards(observation: np.ndarray) -> int:
    """Return the action that brings the hand nearer, read off the pixels."""
    hand, thing = (np.array(where(observation[channel])) for channel in (0, 1))
    down, right = thing - hand
    return (2 if down > 0 else 1) if down else (4 if right > 0 else 3)


@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # advice of the checker
def test_it_is_an_environment():
    check_env(gym.make("lightning_coordconv/FindAndTouch-v0", render_mode="rgb_array").unwrapped)


def test_the_shortest_way():
    env = FindAndTouchEnv(size=24)
    rewards, distances = [], []
    for seed in range(100):
        observation, _ = env.reset(seed=seed)
        assert observation.shape == (3, 24, 24)
        assert not observation[2].any()
        distance = sum(abs(a - b) for a, b in zip(where(observation[0]), where(observation[1]), strict=True)) // 3
        total, terminated, steps = 0.0, False, 0
        while not terminated:
            observation, reward, terminated, truncated, _ = env.step(towards(observation))
            assert not truncated
            total, steps = total + reward, steps + 1
        assert steps == distance
        assert total == pytest.approx(1 - 0.02 * steps)
        rewards.append(total)
        distances.append(distance)
    assert np.mean(rewards) == pytest.approx(1 - 0.02 * np.mean(distances))


def test_borders_and_the_end_of_patience():
    env = FindAndTouchEnv(size=6, max_steps=7)
    env.reset(seed=0)
    env.hand[:], env.object[:] = 0, 1
    for step in range(7):
        observation, reward, terminated, truncated, _ = env.step(1)
        assert where(observation[0]) == (0, 0)
        assert reward == pytest.approx(-0.02)
        assert not terminated
        assert truncated is (step == 6)


def test_what_is_shown():
    env = FindAndTouchEnv(size=24)
    observation, _ = env.reset(seed=1)
    frame = env.render()
    assert frame.shape == (192, 192, 3)
    np.testing.assert_array_equal(frame[::8, ::8].transpose(2, 0, 1), observation)


@pytest.mark.parametrize("size", [3, 25])
def test_size(size):
    with pytest.raises(ValueError, match=f"size must be a multiple of 3 and at least 6, got {size}"):
        FindAndTouchEnv(size=size)
