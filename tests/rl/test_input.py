"""What can't work is refused, and says why."""

import copy
from pathlib import Path

import pytest
import stable_baselines3 as sb3
import torch
from stable_baselines3.common.env_util import make_vec_env

from lightning_coordconv.rl import A2C, PPO, EnvironmentDataModule
from tests.rl.agents import COORDCONV, TOUCH, data, trainer

CONFIG = Path(__file__).parents[2] / "configs" / "rl" / "find_and_touch_coordconv.yaml"


class Ran:
    """Tells when it is unpickled."""

    happened = False

    def __reduce__(self):
        return (setattr, (Ran, "happened", True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data.env_id", "PonkNoFrameskip-v4"], "Did you mean PongNoFrameskip-v4"),
        (["--data.env_id", "ALE/Pong-v5", "--data.env_kwargs", "{}"], "ALE/Pong-v5 skips frames itself"),
        (["--data.n_envs", "0"], "n_envs must be at least 1, got 0"),
        (["--data.backend", "lean"], "backend 'lean' is for Atari games alone"),
        (["--model.total_timesteps", "0"], "total_timesteps must be at least 1, got 0"),
        (["--model.policy_kwargs.optimizer_class", "torch.optim.Adagrat"], "is not the dotted name of a class"),
        (["--data", "NotSoClevrDataModule"], "A2C reads ['rollout'], which the samples of NotSoClevrDataModule"),
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
    with pytest.raises(ValueError, match="a batch size of 63 cannot be divided among 2 ranks"):
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
        with pytest.raises(ValueError, match=r"CnnPolicy looks at images, uint8 in \[0, 255\].*take MlpPolicy"):
            trainer(tmp_path).fit(task, data(2, "CartPole-v1"))
    task = A2C(40, "MlpPolicy", policy_kwargs={"features_extractor_class": COORDCONV})
    with pytest.raises(ValueError, match="CoordConvNatureCNN looks at images"):
        trainer(tmp_path).fit(task, data(2, "CartPole-v1"))


def test_zips_that_do_not_fit(tmp_path):
    def start_from(path, env_id=TOUCH, policy="CnnPolicy"):
        trainer(tmp_path).test(A2C(1, policy, initial_weights=str(path)), data(2, env_id), verbose=False)

    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(ValueError, match=r"text\.zip is no SB3 zip that holds the weights of a policy"):
        start_from(tmp_path / "text.zip")
    with pytest.raises(ValueError, match=r"nowhere\.zip is no SB3 zip"):
        start_from(tmp_path / "nowhere.zip")
    sb3.A2C("MlpPolicy", make_vec_env("Acrobot-v1", 1)).save(tmp_path / "acrobot.zip")
    with pytest.raises(ValueError, match=r"acrobot\.zip holds a policy with 3 actions, and here are Discrete\(2\)"):
        start_from(tmp_path / "acrobot.zip", "CartPole-v1", "MlpPolicy")
    sb3.A2C("MlpPolicy", make_vec_env("CartPole-v1", 1), policy_kwargs={"net_arch": [8]}).save(tmp_path / "small.zip")
    with pytest.raises(ValueError, match=r"small\.zip holds another policy"):
        start_from(tmp_path / "small.zip", "CartPole-v1", "MlpPolicy")


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
    with pytest.raises(ValueError, match=r"the checkpoint's policy is for Box.* and the environment's space is Box"):
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
