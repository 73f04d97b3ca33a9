"""Environments by id, and what is refused."""

import gymnasium as gym
import numpy as np
import pytest

from lightning_coordconv.rl.environments.vector import find, make


class Board(gym.Env):
    """A blank image, channels last, as many environments have them."""

    observation_space = gym.spaces.Box(0, 255, (40, 40, 3), np.uint8)
    action_space = gym.spaces.Discrete(2)
    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012  # as gymnasium declares it
    render_mode = "rgb_array"

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.full((40, 40, 3), (1, 2, 3), np.uint8), {}


def test_images_have_their_channels_first():
    gym.register("tests/Board-v0", Board)
    env = make(find("tests/Board-v0", "sb3", {}, {}), 2, "sb3", n_stack=2)
    assert env.reset().shape == (2, 6, 40, 40)
    assert env.reset()[0, :, 0, 0].tolist() == [0, 0, 0, 1, 2, 3]


def test_arguments_reach_the_environment():
    env = make(find("lightning_coordconv/FindAndTouch-v0", "sb3", {"size": 12}, {}), 1)
    assert env.observation_space.shape == (3, 12, 12)


def test_threads_are_those_of_ale():
    spec = find("PongNoFrameskip-v4", "ale", {"num_threads": 1}, {})
    for backend in ("ale", "lean"):  # in the latter the former is evaluated
        env = make(spec, 1, backend, n_stack=4)
        assert env.reset().shape == (1, 4, 84, 84)
        env.close()


@pytest.mark.slow
def test_processes_of_their_own():
    spec = find("lightning_coordconv/FindAndTouch-v0", "subproc", {}, {})
    env, reference = make(spec, 2, "subproc"), make(spec, 2)
    for each in (env, reference):
        each.seed(3)
    np.testing.assert_array_equal(env.reset(), reference.reset())
    env.close()


@pytest.mark.parametrize(
    ("env_id", "backend", "env_kwargs", "wrapper_kwargs", "message"),
    [
        ("PonkNoFrameskip-v4", "sb3", {}, {}, "Did you mean PongNoFrameskip-v4"),
        ("PonkNoFrameskip-v4", "sb3", {}, {}, "62 Atari games, as <name>NoFrameskip-v4: Adventure, AirRaid, "),
        ("no_such_package:Game-v0", "sb3", {}, {}, "install the package that registers them, and say <module>:<id>"),
        ("ALE/Pong-v5", "sb3", {}, {}, r"ALE/Pong-v5 skips frames itself \(frameskip 4\).*take PongNoFrameskip-v4"),
        ("Pong-v4", "lean", {}, {}, r"Pong-v4 skips frames itself \(frameskip \(2, 5\)\)"),
        ("CartPole-v1", "lean", {}, {}, "backend 'lean' is for Atari games alone, and CartPole-v1 is none"),
        ("CartPole-v1", "sb3", {}, {"noop_max": 3}, "wrapper_kwargs are for Atari games alone"),
    ],
)
def test_what_is_refused(env_id, backend, env_kwargs, wrapper_kwargs, message):
    with pytest.raises(ValueError, match=message):
        find(env_id, backend, env_kwargs, wrapper_kwargs)


@pytest.mark.parametrize(("env_kwargs", "wrapper_kwargs"), [({"frameskip": 1}, {}), ({}, {"frame_skip": 1})])
def test_frames_may_be_skipped_once(env_kwargs, wrapper_kwargs):
    assert find("ALE/Pong-v5", "sb3", env_kwargs, wrapper_kwargs).id == "ALE/Pong-v5"
