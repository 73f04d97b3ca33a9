"""Tests of the human-normalised scores of Atari games: random 0, human 1, and environments without a human score."""

import gymnasium as gym
import pytest

import lightning_coordconv.rl.environments  # noqa: F401  # registers the games
from lightning_coordconv.rl import human_normalised_score
from lightning_coordconv.rl.scores import SCORES


@pytest.mark.parametrize("env_id", ["PongNoFrameskip-v4", "ALE/Pong-v5", "Pong-v4"])
def test_random_is_0_and_human_1(env_id):
    assert human_normalised_score(env_id, -20.7) == 0
    assert human_normalised_score(env_id, 14.6) == 1
    assert human_normalised_score(env_id, 21.0) == pytest.approx(41.7 / 35.3)


def test_other_environments_have_no_human():
    assert human_normalised_score("CartPole-v1", 1.0) is None
    assert human_normalised_score("lightning_coordconv/FindAndTouch-v0", 1.0) is None


def test_games_bear_the_names_of_their_environments():
    assert len(SCORES) == 57
    for game, (random, human) in SCORES.items():
        assert random < human
        assert f"ALE/{game}-v5" in gym.registry, game
