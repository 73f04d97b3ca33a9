"""Tests that A2C and PPO under Lightning train and evaluate bit for bit as in Stable-Baselines3, and exchange zips."""

import importlib

import numpy as np
import pytest
import stable_baselines3 as sb3
import torch
from stable_baselines3.common.env_util import make_atari_env, make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecFrameStack

from lightning_coordconv.rl import A2C, PPO
from lightning_coordconv.rl.data import Batches
from tests.rl.agents import COORDCONV, NATURE, POOLED, TOUCH, data, equal, trainer, weights
from tests.slow import slow_except

PPO_ARGUMENTS = {"n_steps": 16, "batch_size": 32, "n_epochs": 3}


def sb3_class(name):
    module, _, cls = name.rpartition(".")
    return {"features_extractor_class": getattr(importlib.import_module(module), cls)}


@pytest.mark.slow
def test_the_losses_are_no_constants():
    """What the comparisons below rely on: seeds matter."""
    a, b = (sb3.A2C("CnnPolicy", make_vec_env(TOUCH, 4), seed=seed).learn(200) for seed in (3, 4))
    assert not equal(weights(a.policy), weights(b.policy))


@pytest.mark.slow
@pytest.mark.parametrize("extractor", slow_except([COORDCONV], [NATURE, COORDCONV]))
def test_a2c_has_the_weights_of_sb3_after_20_updates(extractor, tmp_path):
    arguments = {"ent_coef": 0.01, "vf_coef": 0.25}
    task = A2C(20 * 4 * 5, policy_kwargs={"features_extractor_class": extractor}, **arguments)
    run = trainer(tmp_path)
    run.fit(task, data(4))
    reference = sb3.A2C("CnnPolicy", make_vec_env(TOUCH, 4), seed=3, policy_kwargs=sb3_class(extractor), **arguments)
    start = weights(reference.policy)
    reference.learn(20 * 4 * 5)
    assert run.global_step == 20
    assert equal(weights(task.policy), weights(reference.policy))
    assert not equal(weights(task.policy), start)
    assert task.algorithm.num_timesteps == reference.num_timesteps
    assert task.algorithm._n_updates == reference._n_updates


@pytest.mark.slow
@pytest.mark.parametrize(
    ("extractor", "target_kl", "steps"), [(NATURE, None, 72), (COORDCONV, None, 72), (COORDCONV, 1e-7, None)]
)
def test_ppo_has_the_weights_of_sb3_after_6_rollouts(extractor, target_kl, steps, tmp_path):
    total = 6 * 8 * 16
    task = PPO(
        total, policy_kwargs={"features_extractor_class": extractor}, learning_rate=(2.5e-4, 0.0),
        clip_range=(0.1, 0.0), clip_range_vf=0.2, target_kl=target_kl, **PPO_ARGUMENTS,
    )  # fmt: skip
    run = trainer(tmp_path)
    run.fit(task, data(8))
    reference = sb3.PPO(
        "CnnPolicy", make_vec_env(TOUCH, 8), seed=3, policy_kwargs=sb3_class(extractor),
        learning_rate=LinearSchedule(2.5e-4, 0.0, 1.0), clip_range=LinearSchedule(0.1, 0.0, 1.0), clip_range_vf=0.2,
        target_kl=target_kl, **PPO_ARGUMENTS,
    )  # fmt: skip
    start = weights(reference.policy)
    reference.learn(total)
    assert equal(weights(task.policy), weights(reference.policy))
    assert not equal(weights(task.policy), start)
    assert task.algorithm.num_timesteps == reference.num_timesteps == total
    assert run.global_step == steps if steps else 6 < run.global_step < 72  # a few steps of each rollout


@pytest.mark.slow
def test_atari_has_the_weights_of_sb3(tmp_path):
    task = A2C(20 * 2 * 5, policy_kwargs={"features_extractor_class": COORDCONV})
    trainer(tmp_path).fit(task, data(2, "BreakoutNoFrameskip-v4", backend="lean", frame_stack=4))
    env = VecFrameStack(make_atari_env("BreakoutNoFrameskip-v4", 2), 4)
    reference = sb3.A2C("CnnPolicy", env, seed=3, policy_kwargs=sb3_class(COORDCONV)).learn(20 * 2 * 5)
    assert equal(weights(task.policy), weights(reference.policy))


def test_vectors_and_continuous_actions(tmp_path):
    task = A2C(40, "MlpPolicy", normalize_advantage=True)
    trainer(tmp_path).fit(task, data(2, "Pendulum-v1"))
    reference = sb3.A2C("MlpPolicy", make_vec_env("Pendulum-v1", 2), seed=3, normalize_advantage=True).learn(40)
    assert equal(weights(task.policy), weights(reference.policy))


class Unsized:
    """The same batches without a length, which Lightning fetches ahead."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


class Early(A2C):
    """Is ready before Lightning fetches ahead."""

    def on_fit_start(self):
        super().on_train_start()

    def on_train_start(self):
        pass


@pytest.mark.slow
@pytest.mark.parametrize(("wrap", "same"), [(lambda batches: batches, True), (Unsized, False)])
def test_batches_must_have_a_length(wrap, same, tmp_path):
    module = data(4)
    sized = module.train_dataloader
    module.train_dataloader = lambda: wrap(sized())
    task = Early(10 * 4 * 5)
    trainer(tmp_path).fit(task, module)
    reference = sb3.A2C("CnnPolicy", make_vec_env(TOUCH, 4), seed=3).learn(10 * 4 * 5)
    assert equal(weights(task.policy), weights(reference.policy)) is same


@pytest.mark.slow
def test_evaluation_is_that_of_sb3_and_leaves_training_alone(tmp_path):
    results = []
    for validate in (0, 1):
        task = A2C(8 * 4 * 5, policy_kwargs={"features_extractor_class": POOLED})
        run = trainer(tmp_path, limit_val_batches=validate)
        run.fit(task, data(4, n_eval_envs=2, eval_episodes=5))
        results.append(weights(task.policy))
    assert equal(*results)
    logged = {name: value.item() for name, value in run.callback_metrics.items()}
    env = make_vec_env(TOUCH, 2)
    env.seed(3 + 1_000_000)
    torch.manual_seed(3 + 1_000_000)
    rewards, lengths = evaluate_policy(task.policy, env, 5, deterministic=False, return_episode_rewards=True)
    assert logged["val/reward"] == pytest.approx(np.mean(rewards), abs=1e-6)
    assert logged["val/reward_std"] == pytest.approx(np.std(rewards), abs=1e-6)
    assert logged["val/episode_length"] == pytest.approx(np.mean(lengths))
    assert (logged["val/episodes"], logged["val/timesteps"], logged["step"]) == (5, 160, 160)
    collected = [episode["r"] for episode in task.algorithm.ep_info_buffer]
    assert logged["val/training_reward"] == pytest.approx(np.mean(collected), abs=1e-6)


@pytest.mark.slow
def test_rewards_are_logged_against_environment_steps(tmp_path):
    task = A2C(300, "MlpPolicy", learning_rate=(1e-3, 0.0))
    run = trainer(tmp_path, log_every_n_steps=10)
    run.fit(task, data(2, "CartPole-v1"))
    logged = {name: value.item() for name, value in run.logged_metrics.items()}
    assert {"train/loss", "train/policy_loss", "train/value_loss", "train/entropy_loss", "train/explained_variance",
            "train/episode_length", "train/fps"} <= set(logged)  # fmt: skip
    assert logged["train/learning_rate"] == pytest.approx(0)
    episodes = task.algorithm.ep_info_buffer
    assert logged["train/reward"] == pytest.approx(np.mean([episode["r"] for episode in episodes]))
    assert run.callback_metrics["step"] == 300


@pytest.mark.slow
def test_zips_go_out_and_in(tmp_path):
    task = A2C(40, policy_kwargs={"features_extractor_class": COORDCONV})
    run = trainer(tmp_path)
    run.fit(task, data(2))
    run.save_checkpoint(tmp_path / "agent.ckpt")
    restored = A2C.load_from_checkpoint(tmp_path / "agent.ckpt", weights_only=True)
    restored.algorithm.save(tmp_path / "agent.zip")
    loaded = sb3.A2C.load(tmp_path / "agent.zip", env=make_vec_env(TOUCH, 2))
    assert equal(weights(loaded.policy), weights(task.policy))
    loaded.learn(20, reset_num_timesteps=False)
    assert loaded.num_timesteps == 60
    again = A2C(1, policy_kwargs={"features_extractor_class": COORDCONV}, initial_weights=str(tmp_path / "agent.zip"))
    trainer(tmp_path).test(again, data(2), verbose=False)
    assert equal(weights(again.policy), weights(task.policy))


def test_a_plain_zip_warms_a_coordconv_up(tmp_path):
    plain = sb3.A2C("CnnPolicy", make_vec_env(TOUCH, 2), seed=0)
    plain.save(tmp_path / "plain.zip")
    arguments = {"features_extractor_class": COORDCONV, "net_arch": []}  # as SB3 gives to NatureCNN
    task = A2C(1, policy_kwargs=arguments, initial_weights=str(tmp_path / "plain.zip"))
    trainer(tmp_path).test(task, data(2), verbose=False)
    images = torch.randint(0, 256, (4, 3, 36, 36), dtype=torch.uint8)
    for mine, theirs in zip(task.policy.evaluate_actions(images, torch.arange(4)),
                            plain.policy.evaluate_actions(images, torch.arange(4)), strict=True):  # fmt: skip
        assert torch.equal(mine, theirs)
