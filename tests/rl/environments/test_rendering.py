"""Tests of how environments are made to render, and of the speed of films: by what each of them says of itself."""

import functools

import gymnasium as gym
import numpy as np
import pytest

from lightning_coordconv.rl.environments.vector import find, frames_per_second, make
from lightning_coordconv.rl.frames import CannotRenderError, play_frames
from tests.rl.test_evaluation import Still


class Plain(gym.Env):
    """Renders a black image, if it is made with a mode to render."""

    observation_space = gym.spaces.Box(0, 255, (3, 36, 36), np.uint8)
    action_space = gym.spaces.Discrete(2)
    metadata = {"render_modes": ["rgb_array"], "render_fps": 8}  # noqa: RUF012  # as gymnasium declares it

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.low, {}

    def render(self):
        return None if self.render_mode is None else np.zeros((36, 36, 3), np.uint8)


class OwnModes(Plain):
    metadata = {"render_modes": []}  # noqa: RUF012  # as above

    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": 30}


class OwnSpeed(Plain):
    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        self.metadata = {**self.metadata, "render_fps": 12.5}


class NoSpeed(Plain):
    metadata = {"render_modes": ["rgb_array"], "render_fps": None}  # noqa: RUF012  # as above


class Blind(Plain):
    metadata = {"render_modes": []}  # noqa: RUF012  # as above


def wrapped(**arguments):
    return gym.wrappers.TransformReward(OwnSpeed(**arguments), abs)


def vector(entry_point, backend="sb3"):
    gym.register("tests/Rendered-v0", entry_point)
    try:
        spec = find("tests/Rendered-v0", backend, {}, {})
    finally:
        del gym.registry["tests/Rendered-v0"]
    return spec, make(spec, 1, backend)


@pytest.mark.parametrize("backend", ["sb3", pytest.param("subproc", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("entry_point", "speed"),
    [(Plain, 8), (OwnModes, 30), (OwnSpeed, 12.5), (NoSpeed, 15), (wrapped, 12.5), (functools.partial(Plain), 8)],
)
def test_an_environment_is_filmed_as_it_says_itself(entry_point, speed, backend):
    spec, env = vector(entry_point, backend)
    frame, _ = next(play_frames(Still(), env, True, 1))
    assert frame.shape == (36, 36, 3)
    assert frames_per_second(spec, env) == speed
    env.close()


def test_the_film_of_an_atari_game_has_every_fourth_screen():
    assert frames_per_second(find("PongNoFrameskip-v4", "sb3", {}, {}), None) == 15


@pytest.mark.parametrize("entry_point", [lambda: Plain(), Blind])
def test_without_a_mode_to_render_the_error_says_what_is_missing(entry_point):
    _, env = vector(entry_point)
    with pytest.raises(CannotRenderError, match=r"^its render_mode is None: .* must take the argument render_mode$"):
        next(play_frames(Still(), env, True, 1))
