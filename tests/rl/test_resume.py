"""Tests that a resumed run of an agent continues bit for bit, and when its environments start anew."""

import gymnasium
import numpy as np
import pytest

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


gymnasium.register("tests/ChannelsLast-v0", ChannelsLast)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "every", "steps", "env_id"),
    [
        ("A2C", 4, 12, TOUCH),  # the end of an epoch
        ("A2C", 6, 12, TOUCH),  # the middle of one
        ("A2C", 6, 12, "tests/ChannelsLast-v0"),
        ("PPO", 18, 36, TOUCH),  # the end of a rollout, in the middle of an epoch
        ("PPO", 10, 36, TOUCH),  # between two passes over a rollout
        ("PPO", 9, 36, TOUCH),  # the middle of a pass over a rollout
    ],
)
def test_a_run_can_be_cut_in_two(algorithm, every, steps, env_id, cli, tmp_path):
    config = write(tmp_path, algorithm, every, env_id)
    cli("fit", "-c", config)
    straight = checkpoints(tmp_path)
    last = max(straight)
    assert every < last <= steps
    cli("fit", "-c", config, "--ckpt_path", cut(tmp_path, every))
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
