"""Tests that the MinAtar environment shows the package's games as images, and can be resumed."""

import gymnasium as gym
import numpy as np
import pytest

from lightning_coordconv.rl.environments.minatar import GAMES, MinAtarEnv
from lightning_coordconv.rl.environments.snapshots import restore, snapshot
from lightning_coordconv.rl.environments.vector import find, make


def test_unknown_games_are_refused():
    with pytest.raises(ValueError, match=r"game must be one of .*, got 'pong'"):
        MinAtarEnv("pong")


@pytest.mark.parametrize("game", GAMES)
def test_a_game_is_that_of_the_package(game):
    minatar = pytest.importorskip("minatar")
    env = gym.make(f"lightning_coordconv/MinAtar{game.title().replace('_', '')}-v0")
    reference = minatar.Environment(game)
    reference.seed(3)
    reference.reset()
    observation, _ = env.reset(seed=3)
    actions = np.random.default_rng(0).integers(env.action_space.n, size=300)
    for action in actions:
        np.testing.assert_array_equal(observation, 255 * reference.state().transpose(2, 0, 1))
        reward, over = reference.act(reference.minimal_action_set()[action])
        observation, found, terminated, truncated, _ = env.step(action)
        assert (found, terminated, truncated) == (reward, over, False)
        if over:
            break


def test_games_are_resumed():
    pytest.importorskip("minatar")
    spec = find("lightning_coordconv/MinAtarBreakout-v0", "sb3", {}, {})
    one, other = make(spec, 2), make(spec, 2)
    for env in (one, other):
        env.seed(1)
        env.reset()
    actions = np.random.default_rng(0).integers(3, size=(60, 2))
    for step in actions[:20]:
        one.step(step)
    restore(other, snapshot(one))
    for step in actions[20:]:
        for mine, theirs in zip(other.step(step)[:3], one.step(step)[:3], strict=True):
            np.testing.assert_array_equal(mine, theirs)
