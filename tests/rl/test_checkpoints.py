"""Tests which checkpoints and SB3 zips agents refuse, resume or start anew from, and that they run no code in one."""

import copy
import math
import re
import sys
import warnings
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
import stable_baselines3 as sb3
import torch
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env

from lightning_coordconv.rl import A2C, PPO, SmallCNN
from tests.rl.agents import COORDCONV, TOUCH, data, trainer
from tests.slow import slow_except


class Ran:
    """Tells when it is unpickled."""

    happened = False

    def __reduce__(self):
        return (setattr, (Ran, "happened", True))


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
        ValueError,
        match=r"acrobot\.zip holds a policy with 3 actions of Discrete, but the action space is Discrete\(2\)",
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


@pytest.mark.parametrize("command", ["fit", "test"])
def test_a_checkpoint_of_a_policy_with_another_activation_is_named(command, tmp_path, caplog):
    run = trainer(tmp_path)
    run.fit(A2C(20, "MlpPolicy"), data(2, "CartPole-v1"))
    run.save_checkpoint(tmp_path / "tanh.ckpt")
    caplog.clear()
    task = A2C(40, "MlpPolicy", policy_kwargs={"activation_fn": torch.nn.ReLU})
    getattr(trainer(tmp_path), command)(task, data(2, "CartPole-v1"), ckpt_path=tmp_path / "tanh.ckpt")
    (line,) = [record.message for record in caplog.records if "that differ" in record.message]
    assert re.search(r"policy_kwargs.activation_fn is .*ReLU, and was not set; .*total_timesteps is 40", line)


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
    with pytest.raises(ValueError, match=r"a.ckpt is a checkpoint of A2C, and PPO is expected"):
        trainer(tmp_path).fit(PPO(40, "MlpPolicy"), data(2, "CartPole-v1"), ckpt_path=tmp_path / "a.ckpt")
    unnamed = {"algorithm": "A2C", "spaces": []}  # of a class that is not imported
    with pytest.raises(ValueError, match="this is a checkpoint of the algorithm A2C, and PPO is PPO"):
        PPO(40, "MlpPolicy").on_load_checkpoint(unnamed)


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


@pytest.mark.parametrize(("options", "match"), [
    ({"net_arc": []}, "policy_kwargs has no argument 'net_arc'; it has net_arch"),
    ({"full_std": False}, "policy_kwargs has no argument 'full_std'; it has net_arch"),
    ({"use_expln": True}, "policy_kwargs has no argument 'use_expln'; it has net_arch"),
    ({"net_arch": {"pi": [8], "qf": [8]}}, "net_arch has the keys pi, of the actor, and vf, of the critic, got 'qf'"),
    ({"optimizer_kwargs": {"eps": 0.1}}, "needs optimizer_class or use_rms_prop=False: .* got {'eps': 0.1}"),
])  # fmt: skip
def test_options_of_a_policy_that_would_have_no_effect_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        A2C(1, policy_kwargs=options)
    A2C(1, use_rms_prop=False, policy_kwargs={"optimizer_kwargs": {"eps": 0.1}, "net_arch": {"pi": [8], "vf": [8]}})


def test_a_zip_whose_actor_and_critic_see_by_two_extractors_is_named(tmp_path):
    """Those of one extractor have the same names: the actor would see by the critic's."""
    observations, actions = spaces.Box(0, 255, (3, 12, 12), np.uint8), spaces.Discrete(2)
    known = {"features_extractor_class": SmallCNN, "net_arch": [4]}
    for shared, match in ((False, r"share_features_extractor is True, and was False"), (True, None)):
        first = A2C(1, policy_kwargs=known | {"share_features_extractor": shared})
        first._build(observations, actions)
        first.algorithm.save(tmp_path / "agent.zip")
        second = A2C(1, policy_kwargs=known | {"share_features_extractor": not shared})
        second.initial_weights = str(tmp_path / "agent.zip")
        with pytest.warns(UserWarning, match=match) if match else nullcontext():
            second._build(observations, actions)
        assert second.algorithm.policy.share_features_extractor is not shared


def test_a_checkpoint_replaces_the_file_of_initial_weights(tmp_path):
    sb3.A2C("MlpPolicy", make_vec_env("CartPole-v1", 1)).save(tmp_path / "start.zip")
    task = A2C(20, "MlpPolicy", initial_weights=str(tmp_path / "start.zip"))
    run = trainer(tmp_path)
    run.fit(task, data(2, "CartPole-v1"))
    run.save_checkpoint(tmp_path / "agent.ckpt")
    (tmp_path / "start.zip").unlink()
    A2C.load_from_checkpoint(tmp_path / "agent.ckpt", weights_only=True)
