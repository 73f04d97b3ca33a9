"""Tests that configurations and checkpoints of agents that cannot work are refused with a reason."""

import copy
import math
import re
import sys
import warnings
from functools import partial
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3 as sb3
import torch
from stable_baselines3.common.env_util import make_vec_env

from lightning_coordconv.rl import A2C, PPO, EnvironmentDataModule
from tests.rl.agents import COORDCONV, TOUCH, data, trainer
from tests.slow import slow_except

CONFIG = Path(__file__).parents[2] / "configs" / "rl" / "find_and_touch_coordconv.yaml"


class Ran:
    """Tells when it is unpickled."""

    happened = False

    def __reduce__(self):
        return (setattr, (Ran, "happened", True))


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


def test_an_extractor_of_images_wants_images(tmp_path):
    for task in (A2C(40), A2C(40, policy_kwargs={"features_extractor_class": COORDCONV})):
        with pytest.raises(ValueError, match=r"CnnPolicy needs images, uint8 in \[0, 255\].*use MlpPolicy"):
            trainer(tmp_path).fit(task, data(2, "CartPole-v1"))
    task = A2C(40, "MlpPolicy", policy_kwargs={"features_extractor_class": COORDCONV})
    with pytest.raises(ValueError, match="CoordConvNatureCNN needs images"):
        trainer(tmp_path).fit(task, data(2, "CartPole-v1"))


def test_zips_that_do_not_fit(tmp_path):
    def start_from(path, env_id=TOUCH, policy="CnnPolicy"):
        trainer(tmp_path).test(A2C(1, policy, initial_weights=str(path)), data(2, env_id), verbose=False)

    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(ValueError, match=r"text\.zip is not an SB3 zip with the weights of a policy"):
        start_from(tmp_path / "text.zip")
    with pytest.raises(ValueError, match=r"initial_weights: there is no file .*nowhere\.zip"):
        start_from(tmp_path / "nowhere.zip")
    sb3.A2C("MlpPolicy", make_vec_env("Acrobot-v1", 1)).save(tmp_path / "acrobot.zip")
    with pytest.raises(
        ValueError, match=r"acrobot\.zip holds a policy with 3 actions, but the action space is Discrete\(2\)"
    ):
        start_from(tmp_path / "acrobot.zip", "CartPole-v1", "MlpPolicy")
    sb3.A2C("MlpPolicy", make_vec_env("CartPole-v1", 1), policy_kwargs={"net_arch": [8]}).save(tmp_path / "small.zip")
    with pytest.raises(ValueError, match=r"small\.zip holds weights of another architecture"):
        start_from(tmp_path / "small.zip", "CartPole-v1", "MlpPolicy")
    diverged = sb3.A2C("MlpPolicy", make_vec_env("CartPole-v1", 1))
    torch.nn.init.constant_(diverged.policy.action_net.bias, math.nan)
    diverged.save(tmp_path / "nan.zip")
    with pytest.raises(ValueError, match=r"nan\.zip holds weights that are infinite or NaN: action_net\.bias"):
        start_from(tmp_path / "nan.zip", "CartPole-v1", "MlpPolicy")


def test_what_a_stranger_has_pickled_is_not_run(tmp_path):
    agent = sb3.A2C("MlpPolicy", make_vec_env("CartPole-v1", 1))
    agent.stranger = Ran()  # goes into the zip as a pickle
    agent.save(tmp_path / "stranger.zip")
    task = A2C(1, "MlpPolicy", initial_weights=str(tmp_path / "stranger.zip"))
    trainer(tmp_path).test(task, data(1, "CartPole-v1"), verbose=False)
    assert not Ran.happened
    sb3.A2C.load(tmp_path / "stranger.zip")
    assert Ran.happened


def test_a_checkpoint_of_another_environment(tmp_path):
    task = A2C(20, "MlpPolicy")
    run = trainer(tmp_path)
    run.fit(task, data(2, "CartPole-v1"))
    run.save_checkpoint(tmp_path / "cartpole.ckpt")
    with pytest.raises(ValueError, match=r"the checkpoint's policy is for Box.* but the environment's space is Box"):
        trainer(tmp_path).fit(A2C(20, "MlpPolicy"), data(2, "Acrobot-v1"), ckpt_path=tmp_path / "cartpole.ckpt")
    restored = A2C.load_from_checkpoint(tmp_path / "cartpole.ckpt", weights_only=True)
    observation = torch.zeros(1, 4)
    assert torch.equal(restored.policy.predict_values(observation), task.policy.predict_values(observation))
    restored.algorithm.save(tmp_path / "agent.zip")
    assert sb3.A2C.load(tmp_path / "agent.zip", env=make_vec_env("CartPole-v1", 1)).learn(5).num_timesteps == 5


@pytest.mark.filterwarnings("ignore:.isinstance.treespec:FutureWarning")
def test_other_numbers_of_ranks_start_environments_anew(tmp_path):
    task = A2C(20, "MlpPolicy")
    run = trainer(tmp_path)
    run.fit(task, data(2, "CartPole-v1"))
    run.save_checkpoint(tmp_path / "one.ckpt")
    checkpoint = torch.load(tmp_path / "one.ckpt", weights_only=True)
    checkpoint["ranks"] = [copy.deepcopy(checkpoint["ranks"][0]) for _ in range(2)]
    torch.save(checkpoint, tmp_path / "two.ckpt")
    again = A2C(60, "MlpPolicy")
    with pytest.warns(UserWarning, match="written by 2 ranks and this run has 1"):
        trainer(tmp_path).fit(again, data(2, "CartPole-v1"), ckpt_path=tmp_path / "two.ckpt")
    assert again.algorithm.num_timesteps == 60


@pytest.mark.filterwarnings("ignore:.isinstance.treespec:FutureWarning")
@pytest.mark.parametrize("option", [{"n_steps": 4}, {"batch_size": 4}, {"n_epochs": 4}, {"n_envs": 1}])
@pytest.mark.parametrize("within", slow_except([True], [True, False]))
def test_a_rollout_of_another_shape_is_not_continued(tmp_path, option, within):
    """Its minibatches would be other samples, or other numbers of them."""
    options = {"n_steps": 8, "batch_size": 8, "n_epochs": 2}
    run = trainer(tmp_path, max_steps=5 if within else 4)
    run.fit(PPO(64, "MlpPolicy", **options), data(2, "CartPole-v1"))
    run.save_checkpoint(tmp_path / "a.ckpt")
    envs = option.get("n_envs", 2)
    option = {name: value for name, value in option.items() if name != "n_envs"}
    again = PPO(64, "MlpPolicy", **{**options, **option})
    resume = partial(trainer(tmp_path).fit, again, data(envs, "CartPole-v1"), ckpt_path=tmp_path / "a.ckpt")
    if within:
        with pytest.raises(ValueError, match=r"the checkpoint is within a rollout of .* \(now \d+\): resume with"):
            resume()
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*the environments start anew")  # another number of them
        resume()
    assert again.rollouts.timesteps == 64


def test_a_checkpoint_of_another_algorithm_is_refused(tmp_path):
    run = trainer(tmp_path)
    run.fit(A2C(20, "MlpPolicy"), data(2, "CartPole-v1"))
    run.save_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="this is a checkpoint of the algorithm A2C, and PPO is PPO"):
        trainer(tmp_path).fit(PPO(40, "MlpPolicy"), data(2, "CartPole-v1"), ckpt_path=tmp_path / "a.ckpt")


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


STRANGE = ["os.abort", "os.system", "subprocess.Popen", "antigravity.geohash", "torch.optim.Adam.step", "nothing", "..",
           "torch.nn.NoSuchLayer", "lightning_coordconv.rl.AgentVideo", "builtins.exec"]  # fmt: skip


@pytest.mark.parametrize("key", ["activation_fn", "features_extractor_class", "optimizer_class"])
@pytest.mark.parametrize("name", STRANGE)
def test_a_name_in_a_checkpoint_is_not_imported_or_called(key, name):
    with pytest.raises(ValueError, match=rf"policy_kwargs\.{key} names"):
        A2C(1, policy_kwargs={key: name})
    assert "antigravity" not in sys.modules


def test_classes_of_this_package_torch_and_sb3_are_found_by_name():
    names = {
        "activation_fn": "torch.nn.ReLU",
        "features_extractor_class": COORDCONV,
        "optimizer_class": "stable_baselines3.common.sb2_compat.rmsprop_tf_like.RMSpropTFLike",
    }
    found = A2C(1, policy_kwargs=names).policy_kwargs
    assert {key: value.__name__ for key, value in found.items()} == {
        "activation_fn": "ReLU", "features_extractor_class": "CoordConvNatureCNN", "optimizer_class": "RMSpropTFLike",
    }  # fmt: skip
    with pytest.raises(ValueError, match="policy_kwargs has no argument 'net_arc'; it has net_arch"):
        A2C(1, policy_kwargs={"net_arc": []})


def test_a_checkpoint_replaces_the_file_of_initial_weights(tmp_path):
    sb3.A2C("MlpPolicy", make_vec_env("CartPole-v1", 1)).save(tmp_path / "start.zip")
    task = A2C(20, "MlpPolicy", initial_weights=str(tmp_path / "start.zip"))
    run = trainer(tmp_path)
    run.fit(task, data(2, "CartPole-v1"))
    run.save_checkpoint(tmp_path / "agent.ckpt")
    (tmp_path / "start.zip").unlink()
    A2C.load_from_checkpoint(tmp_path / "agent.ckpt", weights_only=True)


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
