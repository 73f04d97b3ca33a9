"""Tests of making vectors of environments by id: images, spaces, processes, imports, refusals, crashes, signals."""

import os
import sys

import gymnasium as gym
import numpy as np
import pytest

from lightning_coordconv.rl.environments.crashes import EnvironmentCrashError, InvalidEnvironmentError, named
from lightning_coordconv.rl.environments.vector import find, make
from lightning_coordconv.rl.frames import CannotRenderError, play_frames
from lightning_coordconv.runtime.signals import REQUEUE
from tests.rl.test_evaluation import Still


class Board(gym.Env):
    """A blank image, channels last."""

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


@pytest.mark.slow
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
        (
            "PonkNoFrameskip-v4",
            "sb3",
            {},
            {},
            "62 Atari games are installed, as <name>NoFrameskip-v4: Adventure, AirRaid",
        ),
        ("no_such_package:Game-v0", "sb3", {}, {}, "write <module>:<id>, where <module> registers it"),
        ("json:Game-v0", "sb3", {}, {}, "json was imported, and registers no Game-v0: it needs gymnasium.register"),
        ("Catcher-v0", "sb3", {}, {}, r"^Environment `Catcher` doesn't exist\. Did you mean Reacher-v5 "),
        ("Corridor-v0", "sb3", {}, {}, r"62 Atari games are installed, as <name>NoFrameskip-v4\.$"),
        ("ALE/Pong-v5", "sb3", {}, {}, r"ALE/Pong-v5 skips frames itself \(frameskip 4\).*use PongNoFrameskip-v4"),
        ("Pong-v4", "lean", {}, {}, r"Pong-v4 skips frames itself \(frameskip \(2, 5\)\)"),
        ("CartPole-v1", "lean", {}, {}, "backend 'lean' runs only Atari games, and CartPole-v1 is not one"),
        ("CartPole-v1", "sb3", {}, {"noop_max": 3}, "wrapper_kwargs apply only to Atari games"),
        (
            "CartPole-v1",
            "sb3",
            {"siez": 3},
            {},
            "CartPole-v1 has no argument 'siez', given in env_kwargs; it has sutton_",
        ),
        (
            "ALE/Pong-v5",
            "lean",
            {},
            {"frame_skip": 1},
            "backend 'lean' only by frame_skip of wrapper_kwargs: use PongNo",
        ),
        ("ALE/Pong-v5", "ale", {}, {"frame_skip": 1}, "set env_kwargs to {frameskip: 1}"),
        ("CartPole-v1", "sb3", {"render_mode": "human"}, {}, "must leave out render_mode, .* got 'human'"),
        *(
            ("PongNoFrameskip-v4", backend, {"repeat_action_probability": 7}, {}, "must be from 0 to 1, got 7")
            for backend in ("sb3", "lean", "ale")
        ),
        ("PongNoFrameskip-v4", "sb3", {}, {"action_repeat_probability": -0.1}, "must be from 0 to 1, got -0.1"),
        ("PongNoFrameskip-v4", "sb3", {"max_num_frames_per_episode": 0}, {}, "must be at least 1, got 0"),
        ("PongNoFrameskip-v4", "lean", {}, {"screen_size": 0}, "screen_size must be at least 1, got 0"),
        ("PongNoFrameskip-v4", "lean", {}, {"frame_skip": 0}, "frame_skip must be at least 1, got 0"),
        ("PongNoFrameskip-v4", "lean", {}, {"noop_max": -1}, "noop_max must be at least 0, got -1"),
        ("PongNoFrameskip-v4", "lean", {}, {"noop": 3}, "AtariWrapper has no argument 'noop', given in wrapper_kwargs"),
    ],
)
def test_what_is_refused(env_id, backend, env_kwargs, wrapper_kwargs, message):
    with pytest.raises(ValueError, match=message):
        find(env_id, backend, env_kwargs, wrapper_kwargs)


@pytest.mark.parametrize(("env_kwargs", "wrapper_kwargs"), [({"frameskip": 1}, {}), ({}, {"frame_skip": 1})])
def test_frames_may_be_skipped_once(env_kwargs, wrapper_kwargs):
    assert find("ALE/Pong-v5", "sb3", env_kwargs, wrapper_kwargs).id == "ALE/Pong-v5"


class Starts(gym.Env):
    """Returns the last action, in spaces that do not start at zero."""

    observation_space = gym.spaces.Dict(
        last=gym.spaces.Discrete(3, start=-1), both=gym.spaces.MultiDiscrete([2, 3], start=[5, 7])
    )
    action_space = gym.spaces.Discrete(3, start=-1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return {"last": -1, "both": np.array([5, 7])}, {}

    def step(self, action):
        assert self.action_space.contains(action)
        return {"last": action, "both": np.array([6, 9])}, 0.0, False, False, {}


@pytest.mark.parametrize("env_id", ["tests/Starts-v0", "FrozenLake-v1"])
def test_only_numbers_are_stacked(env_id):
    gym.register("tests/Starts-v0", Starts)
    with pytest.raises(
        InvalidEnvironmentError, match=rf"^frame_stack must be 1 for the environment {env_id}: only a Box"
    ):
        make(find(env_id, "sb3", {}, {}), 1, n_stack=2)


def test_spaces_start_at_zero():
    gym.register("tests/Starts-v0", Starts)
    env = make(find("tests/Starts-v0", "sb3", {}, {}), 3)
    assert env.action_space == gym.spaces.Discrete(3)
    assert env.observation_space["both"] == gym.spaces.MultiDiscrete([2, 3])
    first = env.reset()
    assert (first["last"].tolist(), first["both"].tolist()) == ([0, 0, 0], [[0, 0]] * 3)
    seen = env.step(np.array([0, 1, 2]))[0]
    assert (seen["last"].tolist(), seen["both"].tolist()) == ([0, 1, 2], [[1, 2]] * 3)


def test_a_module_is_imported_before_its_environment_is_found(tmp_path, monkeypatch):
    (tmp_path / "mygames.py").write_text(
        "import gymnasium\ngymnasium.register('tests/Mine-v0', 'gymnasium.envs.classic_control.cartpole:CartPoleEnv')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert make(find("mygames:tests/Mine-v0", "sb3", {}, {}), 1).reset().shape == (1, 4)


class Crashing(Board):
    def __init__(self, when="step"):
        self.when = when
        if when == "construction":
            raise RuntimeError("no display")

    def reset(self, *, seed=None, options=None):
        if self.when == "reset":
            raise OSError("no such level")
        return super().reset(seed=seed)

    def step(self, action):
        if self.when == "exit":
            os._exit(1)
        if self.when == "quit":
            sys.exit(0)  # as games do when their window is closed
        raise ZeroDivisionError("division by zero")


class Undrawn(Board):
    def step(self, action):
        return self.reset()[0], 1.0, False, False, {}

    def render(self):
        raise OSError("no display")


@pytest.mark.slow
def test_a_process_whose_environment_cannot_be_drawn_lives_on():
    gym.register("tests/Undrawn-v0", Undrawn)
    env = make(find("tests/Undrawn-v0", "subproc", {}, {}), 1, "subproc")
    env.reset()
    with pytest.raises(CannotRenderError, match=r"^OSError: no display$"):
        next(play_frames(Still(), env, True, 5, False))
    assert env.step(np.zeros(1, int))[1] == [1.0]
    env.close()


@pytest.mark.parametrize("when", ["construction", "reset", "step"])
def test_a_crash_names_the_environment(when):
    gym.register("tests/Crashing-v0", Crashing)

    def play():
        env = make(find("tests/Crashing-v0", "sb3", {"when": when}, {}), 1)
        env.reset()
        env.step(np.array([0]))

    with pytest.raises(
        EnvironmentCrashError, match=rf"the environment tests/Crashing-v0 failed in .*{when}: \w+Error: "
    ):
        play()


def test_a_signal_that_comes_while_an_environment_works_ends_the_run():
    with pytest.raises(SystemExit) as info, named("tests/Any-v0", "a step"):
        raise SystemExit(REQUEUE)
    assert info.value.code == REQUEUE


@pytest.mark.parametrize("error", [SystemExit(0), StopIteration(), KeyError("x")])
def test_any_error_in_a_step_names_the_environment(error, monkeypatch):
    """A game that ends its process with exit code 0 must not end the run as if it were complete."""
    gym.register("tests/Crashing-v0", Crashing)

    def step(self, action):
        raise error

    monkeypatch.setattr(Crashing, "step", step)
    env = make(find("tests/Crashing-v0", "sb3", {"when": "step"}, {}), 1)
    env.reset()
    with pytest.raises(EnvironmentCrashError, match=rf"failed in a step: {type(error).__name__}: "):
        env.step(np.array([0]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("when", "message"),
    [
        ("quit", "the environment tests/Crashing-v0 failed in a step: SystemExit: 0"),
        ("exit", "a process of the environment tests/Crashing-v0 ended during a step"),
        ("step", "the environment tests/Crashing-v0 failed in a step: ZeroDivisionError: division by zero"),
    ],
)
def test_errors_in_other_processes_name_the_environment(when, message):
    gym.register("tests/Crashing-v0", Crashing)
    env = make(find("tests/Crashing-v0", "subproc", {"when": when}, {}), 1, "subproc")
    env.reset()
    with pytest.raises(EnvironmentCrashError, match=message):
        env.step(np.array([0]))
    if when != "exit":
        env.close()


@pytest.mark.parametrize(("shape", "fits"), [((3, 12, 12), 4), ((12, 12, 4), 2)])
def test_frames_are_not_stacked_until_the_channels_are_another_axis(shape, fits):
    """SB3 takes the shortest axis for the channels, and would transpose an image of many channels, or not."""

    class Images(gym.Env):
        observation_space = gym.spaces.Box(0, 255, shape, np.uint8)
        action_space = gym.spaces.Discrete(2)

    spec = gym.envs.registration.EnvSpec("Images-v0", entry_point=Images)
    channels = min(shape)
    assert make(spec, 1, n_stack=fits).observation_space.shape == (channels * fits, 12, 12)
    with pytest.raises(InvalidEnvironmentError, match=r"^frame_stack must be less for the environment Images-v0, got"):
        make(spec, 1, n_stack=fits + 1)


class Views(gym.Env):
    """A blank image and a number, or the image by itself."""

    action_space = gym.spaces.Discrete(2)

    def __init__(self, shape, high=255, dtype="uint8", alone=True):
        image = gym.spaces.Box(0, high, tuple(shape), np.dtype(dtype).type)
        self.observation_space = image if alone else gym.spaces.Dict({"image": image, "n": gym.spaces.Box(0, 1, (1,))})

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}


@pytest.mark.parametrize(("shape", "stacked"), [((3, 12, 14), (6, 12, 14)), ((12, 14, 3), (12, 14, 6))])
def test_frames_are_stacked_on_the_channels_of_images_of_any_numbers(shape, stacked):
    spec = gym.envs.registration.EnvSpec("Views-v0", entry_point=Views, kwargs={"shape": shape, "high": 1})
    spec.kwargs["dtype"] = "float32"
    assert make(spec, 1, n_stack=2).observation_space.shape == stacked
    spec.kwargs["alone"] = False
    space = make(spec, 1, n_stack=2).observation_space
    assert space["image"].shape == stacked
    assert space["n"].shape == (2,)


def test_images_in_dicts_have_their_channels_first():
    kwargs = {"shape": (12, 14, 3), "alone": False}
    env = make(gym.envs.registration.EnvSpec("Views-v0", entry_point=Views, kwargs=kwargs), 2, n_stack=2)
    assert env.observation_space["image"].shape == (6, 12, 14)
    assert env.reset()["image"].shape == (2, 6, 12, 14)
