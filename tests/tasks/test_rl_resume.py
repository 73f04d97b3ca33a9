"""A resumed run goes on bit for bit: weights, optimiser, random numbers, rollouts and environments."""

from pathlib import Path

import pytest
import torch

from tests.tasks.agents import POOLED, TOUCH

ARMS = {
    "A2C": "{total_timesteps: 240, ent_coef: 0.01, learning_rate: [0.001, 0.0],",
    "PPO": "{total_timesteps: 384, n_steps: 16, batch_size: 32, n_epochs: 3, clip_range: [0.2, 0.0],",
}
CONFIG = """
model:
  class_path: lightning_coordconv.tasks.rl.{algorithm}
  init_args: {arguments} policy_kwargs: {{features_extractor_class: {extractor}}}}}
data:
  class_path: lightning_coordconv.datamodules.rl.EnvironmentDataModule
  init_args: {{env_id: {env_id}, n_envs: 4, rollouts_per_epoch: 4, eval_episodes: 2{data}}}
trainer:
  max_epochs: -1
  accelerator: cpu
  logger: false
  enable_progress_bar: false
  enable_model_summary: false
  num_sanity_val_steps: 0
  limit_test_batches: 0
  callbacks:
    - class_path: ModelCheckpoint
      init_args: {{dirpath: {folder}, filename: "{{step}}", every_n_train_steps: {every}, save_top_k: -1}}
"""


def write(folder: Path, algorithm: str, every: int, env_id: str = TOUCH, **data: object) -> Path:
    path = folder / "config.yaml"
    more = "".join(f", {key}: {value}" for key, value in data.items())
    path.write_text(
        CONFIG.format(
            algorithm=algorithm, arguments=ARMS[algorithm], extractor=POOLED, env_id=env_id, data=more,
            folder=folder / "checkpoints", every=every,
        )
    )  # fmt: skip
    return path


def checkpoints(folder: Path) -> dict[int, dict]:
    """Return the checkpoints by optimiser step, loaded safely."""
    loaded = [torch.load(path, weights_only=True) for path in (folder / "checkpoints").glob("*.ckpt")]
    return {checkpoint["global_step"]: checkpoint for checkpoint in loaded}


def same(first: object, second: object) -> bool:
    """Compare nested states; seconds of the clock, as monitors note them, are left out."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(
            same(first[key], second[key]) for key in first if key not in ("t", "t_start", "episode_times")
        )
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


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
    for path in (tmp_path / "checkpoints").glob("*.ckpt"):
        if torch.load(path, weights_only=True)["global_step"] == every:
            path.rename(tmp_path / "cut.ckpt")
        else:
            path.unlink()
    cli("fit", "-c", config, "--ckpt_path", "cut.ckpt")
    resumed = checkpoints(tmp_path)
    assert sorted(resumed) == sorted(straight)[1:]
    for step, checkpoint in resumed.items():
        for key in ("state_dict", "optimizer_states", "ranks"):
            assert same(checkpoint[key], straight[step][key]), (step, key)
