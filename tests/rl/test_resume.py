"""A resumed run continues bit for bit: weights, optimiser, random numbers, rollouts and environments."""

import pytest

from tests.rl.agents import checkpoints, cut, same, write


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "every", "steps"),
    [
        ("A2C", 4, 12),  # the end of an epoch
        ("A2C", 6, 12),  # the middle of one
        ("PPO", 18, 36),  # the end of a rollout, in the middle of an epoch
        ("PPO", 10, 36),  # between two passes over a rollout
        ("PPO", 9, 36),  # the middle of a pass over a rollout
    ],
)
def test_a_run_can_be_cut_in_two(algorithm, every, steps, cli, tmp_path):
    config = write(tmp_path, algorithm, every)
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
