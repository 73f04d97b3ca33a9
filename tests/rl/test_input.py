"""Tests that agents refuse options, spaces and rank counts that cannot work, and normalise advantages over ranks."""

import re
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

from lightning_coordconv.rl import A2C, PPO, EnvironmentDataModule
from tests.rl.agents import COORDCONV, TOUCH, data, trainer

CONFIG = Path(__file__).parents[2] / "configs" / "rl" / "find_and_touch_coordconv.yaml"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data.env_id", "PonkNoFrameskip-v4"], "Did you mean PongNoFrameskip-v4"),
        (["--data.env_id", "ALE/Pong-v5", "--data.env_kwargs", "{}"], "ALE/Pong-v5 skips frames itself"),
        (["--data.n_envs", "0"], "n_envs must be from 1 to 4096, got 0"),
        (["--data.backend", "lean"], "backend 'lean' runs only Atari games"),
        (["--model.total_timesteps", "0"], "total_timesteps must be at least 1, got 0"),
        (
            ["--model.policy_kwargs.optimizer_class", "torch.optim.Adagrat"],
            "module 'torch.optim' has no attribute 'Adagrat'",
        ),
        (["--model.policy_kwargs.activation_fn", "os.abort"], "Expected an import path corresponding to a type"),
        (["--model.n_steps", "0"], "n_steps must be at least 1, got 0"),
        (["--model.gamma", "2"], "gamma must be from 0 to 1, got 2"),
        (["--model.learning_rate", "[0.1, -1]"], "learning_rate must be at least 0, got -1"),
        (
            ["--model.policy", "CnnPolici"],
            "policy must be one of MlpPolicy, CnnPolicy, MultiInputPolicy, got 'CnnPolici'",
        ),
        (["--model.initial_weights", "nowhere.zip"], "initial_weights: there is no file nowhere.zip"),
        (["--data.max_eval_steps", "0"], "max_eval_steps must be at least 1, got 0"),
        (["--data.env_kwargs", "{siez: 3}"], "has no argument 'siez', given in env_kwargs; it has size"),
        (
            ["--data", "lightning_coordconv.coordinates.NotSoClevrDataModule"],
            "A2C reads ['rollout'], which the samples of NotSoClevrDataModule",
        ),
    ],
)
def test_on_the_command_line(cli, capsys, arguments, message):
    with pytest.raises(SystemExit):
        cli("fit", "-c", CONFIG, *arguments)
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_environments_are_divided_among_ranks(tmp_path):
    module = EnvironmentDataModule(TOUCH, n_envs=3)
    module.trainer = type("Two", (), {"world_size": 2, "global_rank": 0})()
    with pytest.raises(ValueError, match="n_envs=3 environments cannot be divided among 2 ranks"):
        module.setup("fit")


def test_batches_are_divided_among_ranks():
    task = PPO(1, batch_size=63)
    task._trainer = type("Two", (), {"world_size": 2})()
    with pytest.raises(ValueError, match="batch_size=63 cannot be divided among 2 ranks"):
        task.local_batch_size()


def test_advantages_are_normalised_over_all_ranks():
    """By the definition, over the concatenation of what two ranks have."""
    mine, others = torch.randn(5), torch.randn(5) * 3 + 1
    task = PPO(1)
    task._trainer = type("Two", (), {"world_size": 2})()
    task.all_gather = lambda tensor: torch.stack([tensor, others])
    everything = torch.cat([mine, others])
    expected = (mine - everything.mean()) / (everything.std() + 1e-8)
    torch.testing.assert_close(task.normalise(mine, everywhere=True), expected)
    torch.testing.assert_close(task.normalise(mine, everywhere=False), (mine - mine.mean()) / (mine.std() + 1e-8))
    with pytest.raises(ValueError, match=r"one step has no deviation to normalise by: raise n_steps"):
        task.normalise(mine[:1], everywhere=False)


def test_an_extractor_of_images_wants_images(tmp_path):
    for task in (A2C(40), A2C(40, policy_kwargs={"features_extractor_class": COORDCONV})):
        with pytest.raises(ValueError, match=r"CnnPolicy needs images, uint8 in \[0, 255\].*use MlpPolicy"):
            trainer(tmp_path).fit(task, data(2, "CartPole-v1"))
    task = A2C(40, "MlpPolicy", policy_kwargs={"features_extractor_class": COORDCONV})
    with pytest.raises(ValueError, match="CoordConvNatureCNN needs images"):
        trainer(tmp_path).fit(task, data(2, "CartPole-v1"))


@pytest.mark.parametrize("backend", ["subprocess", "", None])
def test_an_unknown_backend_is_refused(backend):
    with pytest.raises(ValueError, match=f"backend must be one of 'sb3', 'subproc', 'lean', 'ale', got {backend!r}"):
        EnvironmentDataModule(TOUCH, backend=backend)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_steps": 2.5}, "n_steps must be an integer, got 2.5"),
        ({"n_steps": "8"}, "n_steps must be an integer, got '8'"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"batch_size": 1}, "batch_size must be at least 2 where normalize_advantage is true, got 1"),
        ({"n_epochs": -1}, "n_epochs must be at least 1, got -1"),
        ({"gae_lambda": 1.5}, "gae_lambda must be from 0 to 1, got 1.5"),
        ({"gamma": float("nan")}, "gamma must be from 0 to 1, got nan"),
        ({"ent_coef": -0.1}, "ent_coef must be at least 0, got -0.1"),
        ({"vf_coef": float("inf")}, "vf_coef must be at least 0, got inf"),
        ({"max_grad_norm": 0}, "max_grad_norm must be greater than 0, got 0"),
        ({"clip_range": (0.1, -0.1)}, "clip_range must be at least 0, got -0.1"),
        ({"clip_range": [0.1, None]}, "clip_range must be at least 0, got None"),
        *(
            (
                {name: value},
                re.escape(f"{name} must be a number, or the first and the last of a linear schedule, got {value}"),
            )
            for name in ("learning_rate", "clip_range", "clip_range_vf")
            for value in ([1e-3, 1e-4, 1e-5], [1e-3], [], ())
        ),
        ({"target_kl": 0}, "target_kl must be greater than 0, got 0"),
    ],
)
def test_numbers_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        PPO(100, **arguments)


@pytest.mark.parametrize(
    "numbers",
    [{"seed": -1}, {"seed": 2**32}, {"n_envs": 1.5}, {"eval_episodes": 2.5}, {"n_eval_envs": 0}, {"frame_stack": -2}],
)
def test_numbers_of_environments_out_of_range(numbers):
    (name, value) = next(iter(numbers.items()))
    with pytest.raises(ValueError, match=f"{name} must be .*, got {value}"):
        EnvironmentDataModule(TOUCH, **numbers)


def test_a_minibatch_is_part_of_a_rollout(tmp_path):
    task = PPO(100, "MlpPolicy", n_steps=8, batch_size=64)
    with pytest.raises(
        ValueError, match=r"batch_size must be at most the steps of a rollout, n_steps \* n_envs = 16, got 64"
    ):
        trainer(tmp_path).fit(task, data(2, "CartPole-v1"))


class Spaces(gym.Env):
    """An environment of given spaces."""

    def __init__(self, observations, actions):
        self.observation_space, self.action_space = observations, actions

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


VECTOR, CHOICE = gym.spaces.Box(-1.0, 1.0, (3,)), gym.spaces.Discrete(2)


@pytest.mark.parametrize(
    ("observations", "actions"),
    [
        (VECTOR, gym.spaces.Dict(a=CHOICE)),
        (VECTOR, gym.spaces.Box(-np.inf, np.inf, (2,))),
    ],
)
def test_spaces_that_no_policy_can_be_built_for_are_named(tmp_path, monkeypatch, observations, actions):
    monkeypatch.setitem(gym.registry, "Spaces-v0", gym.envs.registration.EnvSpec("Spaces-v0", Spaces))
    environments = EnvironmentDataModule(
        "Spaces-v0", n_envs=1, env_kwargs={"observations": observations, "actions": actions}
    )
    message = f"PPO cannot build a MlpPolicy for observations {observations}, actions {actions}: "
    with pytest.raises(ValueError, match=re.escape(message) + "."):
        trainer(tmp_path).fit(PPO(total_timesteps=8, policy="MlpPolicy", n_steps=8, batch_size=8), environments)


SMALL = gym.spaces.Box(0, 255, (12, 12, 3), np.uint8)


@pytest.mark.parametrize(
    ("observations", "policy"), [(SMALL, "CnnPolicy"), (gym.spaces.Dict(image=SMALL, speed=VECTOR), "MultiInputPolicy")]
)
def test_images_that_are_too_small_for_a_policy_are_named(tmp_path, monkeypatch, observations, policy):
    monkeypatch.setitem(gym.registry, "Spaces-v0", gym.envs.registration.EnvSpec("Spaces-v0", Spaces))
    environments = EnvironmentDataModule(
        "Spaces-v0", n_envs=1, env_kwargs={"observations": observations, "actions": CHOICE}
    )
    message = rf"A2C cannot build a {policy} for observations .*\(3, 12, 12\).*Kernel size can't be greater"
    with pytest.raises(ValueError, match=message):
        trainer(tmp_path).fit(A2C(8, policy), environments)


GRID = gym.spaces.MultiDiscrete([[2, 3], [2, 2]])


@pytest.mark.parametrize(
    ("observations", "actions", "message"),
    [
        (gym.spaces.Text(5), CHOICE, "has the observation space Text.*, and agents need Box, Discrete"),
        (gym.spaces.Dict(a=VECTOR, b=gym.spaces.Text(5)), CHOICE, r"Text.*\['b'\], and agents need Box"),
        (gym.spaces.Tuple([VECTOR, VECTOR]), CHOICE, "has the observation space Tuple.*, and agents need Box"),
        (gym.spaces.Sequence(VECTOR), CHOICE, "has the observation space Sequence.*, and agents need Box"),
        (VECTOR, gym.spaces.Text(5), "has the action space Text.*, and agents need Box"),
        (GRID, CHOICE, r"has the observation space MultiDiscrete.* one axis, but its shape is \(2, 2\): flatten it"),
        (VECTOR, GRID, r"has the action space MultiDiscrete.* one axis, but its shape is \(2, 2\): flatten it"),
    ],
)
def test_spaces_of_other_kinds_are_refused_by_name(tmp_path, monkeypatch, observations, actions, message):
    monkeypatch.setitem(gym.registry, "Spaces-v0", gym.envs.registration.EnvSpec("Spaces-v0", Spaces))
    environments = EnvironmentDataModule(
        "Spaces-v0", n_envs=1, env_kwargs={"observations": observations, "actions": actions}
    )
    with pytest.raises(ValueError, match=f"^the environment Spaces-v0 {message}" if "has the" in message else message):
        trainer(tmp_path).fit(PPO(total_timesteps=8, policy="MlpPolicy", n_steps=8, batch_size=8), environments)


@pytest.mark.parametrize("name", ["n_envs", "n_eval_envs", "frame_stack"])
def test_more_environments_than_memory_holds_are_refused(name):
    with pytest.raises(ValueError, match=rf"{name} must be from 1 to \d+, got {10**9}"):
        EnvironmentDataModule("CartPole-v1", **{name: 10**9})


@pytest.mark.parametrize("backend", ["sb3", "subproc"])
@pytest.mark.parametrize("size", [-3, "large"])
def test_a_value_that_the_environment_refuses_is_named(backend, size):
    environments = EnvironmentDataModule(TOUCH, env_kwargs={"size": size}, backend=backend)
    with pytest.raises(ValueError, match=rf"size must be .*, got {size!r}; check env_kwargs \{{'size': {size!r}\}}"):
        environments.setup("fit")
