"""Tests that a resumed run of an agent continues bit for bit, and when its environments start anew."""

import threading

import gymnasium
import numpy as np
import pytest
from pytorch_lightning import Callback

from lightning_coordconv.rl import A2C
from lightning_coordconv.rl.environments.find_and_touch import FindAndTouchEnv
from tests.rl.agents import TOUCH, checkpoints, cut, data, same, trainer, write


class ChannelsLast(gymnasium.ObservationWrapper):
    """The images are (H, W, C), of which SB3 makes transposed views."""

    metadata = FindAndTouchEnv.metadata

    def __init__(self, render_mode=None):
        super().__init__(FindAndTouchEnv(render_mode=render_mode))
        self.observation_space = gymnasium.spaces.Box(0, 255, (36, 36, 3), np.uint8)

    def observation(self, image):
        return image.transpose(1, 2, 0).copy()


class Level(gymnasium.Env):
    """Counts its episodes, which are worth their number, and holds what cannot be saved once it was rendered."""

    observation_space, action_space = gymnasium.spaces.Box(-1, 1, (2,)), gymnasium.spaces.Discrete(2)
    metadata = {"render_modes": ["rgb_array"], "render_fps": 8}  # noqa: RUF012  # as gymnasium declares it

    def __init__(self, render_mode=None):
        self.render_mode, self.level = render_mode, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.level += 1
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), float(self.level), True, False, {}

    def render(self):
        self.display = threading.Lock()
        return np.zeros((16, 16, 3), np.uint8)


gymnasium.register("tests/ChannelsLast-v0", ChannelsLast)
gymnasium.register("tests/Level-v0", Level)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "every", "steps", "env_id", "options"),
    [
        # the end of an epoch; Lightning does not make up for its validation, which plays on in evaluation environments
        ("A2C", 4, 12, TOUCH, ["--trainer.limit_val_batches=0"]),
        ("A2C", 6, 12, TOUCH, []),  # the middle of one
        ("A2C", 6, 12, "tests/ChannelsLast-v0", []),
        ("PPO", 18, 36, TOUCH, []),  # the end of a rollout, in the middle of an epoch
        ("PPO", 10, 36, TOUCH, []),  # between two passes over a rollout
        ("PPO", 9, 36, TOUCH, []),  # the middle of a pass over a rollout
    ],
)
def test_a_run_can_be_cut_in_two(algorithm, every, steps, env_id, options, cli, tmp_path):
    config = write(tmp_path, algorithm, every, env_id)
    cli("fit", "-c", config, *options)
    straight = checkpoints(tmp_path)
    last = max(straight)
    assert every < last <= steps
    cli("fit", "-c", config, *options, "--ckpt_path", cut(tmp_path, every))
    resumed = checkpoints(tmp_path)
    assert sorted(resumed) == sorted(straight)[1:]
    for step, checkpoint in resumed.items():
        for key in ("state_dict", "optimizer_states", "ranks"):
            assert same(checkpoint[key], straight[step][key]), (step, key)


def resumed(folder, n_envs=2, **changes):
    """Return the training environments of a run that resumes, with other arguments, after its first rollouts."""
    first = trainer(folder, max_steps=2)
    first.fit(agent(), data(2, env_kwargs={"size": 24}))
    first.save_checkpoint(folder / "last.ckpt")
    environments = data(n_envs, **{"env_kwargs": {"size": 24}} | changes)
    kept = {}
    environments.teardown = lambda stage: kept.setdefault("sizes", sizes(environments.train_env))
    run = trainer(folder, max_steps=4)
    run.fit(agent(), environments, ckpt_path=folder / "last.ckpt", weights_only=True)
    assert run.global_step == 4
    return kept["sizes"]


def agent():
    return A2C(total_timesteps=80, policy="MlpPolicy")


def sizes(environments):
    return [env.max_steps for env in environments.get_attr("unwrapped")]


@pytest.mark.filterwarnings("ignore:.isinstance.treespec:FutureWarning")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"n_envs": 4}, "n_envs was 2 and is 4"),
        ({"n_envs": 1}, "n_envs was 2 and is 1"),
        ({"env_kwargs": {"size": 24, "max_steps": 7}}, r"env_kwargs was \{'size': 24\} and is .*'max_steps': 7\}"),
    ],
)
def test_environments_with_other_arguments_start_anew(changes, reason, tmp_path):
    """They would otherwise be those of the checkpoint, and the arguments ignored, or of another number."""
    with pytest.warns(UserWarning, match=f"that of other environments, {reason}: the environments start anew"):
        found = resumed(tmp_path, **changes)
    assert found == [changes.get("env_kwargs", {}).get("max_steps", 50)] * changes.get("n_envs", 2)


@pytest.mark.filterwarnings("ignore:.isinstance.treespec:FutureWarning")
def test_environments_with_the_same_arguments_go_on(tmp_path):
    assert len(resumed(tmp_path)) == 2  # any warning is an error


def level_rewards(folder, steps, ckpt_path=None, films=False, **arguments):
    """Return the rewards of the validations of a run, which ends with a checkpoint."""
    rewards = []

    class Rewards(Callback):
        def on_validation_end(self, trainer, pl_module):
            rewards.append(trainer.callback_metrics["val/reward"].item())
            if films:
                trainer.datamodule.eval_env.get_images()

    run = trainer(folder, max_steps=steps, limit_val_batches=1, callbacks=[Rewards()])
    run.fit(agent(), data(2, "tests/Level-v0", **arguments), ckpt_path=ckpt_path, weights_only=True)
    run.save_checkpoint(folder / "last.ckpt")
    return rewards


@pytest.mark.filterwarnings("ignore:.isinstance.treespec:FutureWarning")
def test_evaluation_environments_go_on_after_a_resume(tmp_path):
    straight = level_rewards(tmp_path, 8)
    assert len(set(straight)) == 2
    cut = level_rewards(tmp_path, 4) + level_rewards(tmp_path, 8, tmp_path / "last.ckpt")
    assert cut == straight


@pytest.mark.filterwarnings("ignore:.isinstance.treespec:FutureWarning")
@pytest.mark.parametrize(
    ("films", "arguments", "reason"),
    [(True, {}, "Level.display: .* cannot be converted"), (False, {"n_eval_envs": 2}, "n_eval_envs was 1 and is 2")],
)
def test_a_warning_says_why_evaluation_environments_start_anew(films, arguments, reason, tmp_path):
    """Those of training, which are not rendered, go on."""
    first = level_rewards(tmp_path, 4, films=films)
    with pytest.warns(UserWarning, match=f"^{reason}.*: the evaluation environments start anew$") as caught:
        resumed = level_rewards(tmp_path, 8, tmp_path / "last.ckpt", **arguments)
    assert sum("start anew" in str(warning.message) for warning in caught) == 1
    assert arguments or resumed == first
