"""Functions for tests of agents: data, trainers, configs, checkpoints in a cheap environment; equality of states."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer

from lightning_coordconv.rl import EnvironmentDataModule

TOUCH = "lightning_coordconv/FindAndTouch-v0"
NATURE = "stable_baselines3.common.torch_layers.NatureCNN"
COORDCONV = "lightning_coordconv.rl.policies.CoordConvNatureCNN"
POOLED = "lightning_coordconv.rl.policies.SmallCNN"

ARMS = {
    "A2C": "{total_timesteps: 240, ent_coef: 0.01, learning_rate: [0.001, 0.0],",
    "PPO": "{total_timesteps: 384, n_steps: 16, batch_size: 32, n_epochs: 3, clip_range: [0.2, 0.0],",
}
CONFIG = """
model:
  class_path: lightning_coordconv.rl.algorithms.{algorithm}
  init_args: {arguments} policy_kwargs: {{features_extractor_class: {extractor}}}}}
data:
  class_path: lightning_coordconv.rl.data.EnvironmentDataModule
  init_args: {{env_id: {env_id}{data}}}
trainer:
  max_epochs: -1
  accelerator: cpu
  logger: false
  default_root_dir: {root}
  enable_progress_bar: false
  enable_model_summary: false
  num_sanity_val_steps: 0
  limit_test_batches: 0
  callbacks:
    - class_path: ModelCheckpoint
      init_args: {{dirpath: {folder}, filename: "{{step}}", every_n_train_steps: {every}, save_top_k: -1}}
"""


def data(n_envs: int, env_id: str = TOUCH, **arguments: Any) -> EnvironmentDataModule:
    options = {"rollouts_per_epoch": 4, "eval_episodes": 2, "seed": 3} | arguments
    return EnvironmentDataModule(env_id, n_envs, **options)


def trainer(folder: Path, **arguments: Any) -> Trainer:
    options: dict[str, Any] = {"limit_val_batches": 0, "logger": False, "enable_checkpointing": False}
    options |= {"accelerator": "cpu"} | arguments
    return Trainer(
        max_epochs=-1, default_root_dir=folder, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, **options,
    )  # fmt: skip


def weights(module: torch.nn.Module | LightningModule) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def equal(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return len(first) == len(second) and all(map(torch.equal, first, second))


def write(folder: Path, algorithm: str, every: int, env_id: str = TOUCH, **data: object) -> Path:
    path = folder / "config.yaml"
    options = {"n_envs": 4, "rollouts_per_epoch": 4, "eval_episodes": 2} | data
    more = "".join(f", {key}: {value}" for key, value in options.items())
    path.write_text(
        CONFIG.format(
            algorithm=algorithm, arguments=ARMS[algorithm], extractor=POOLED, env_id=env_id, data=more,
            root=folder, folder=folder / "checkpoints", every=every,
        )
    )  # fmt: skip
    return path


def checkpoints(folder: Path) -> dict[int, dict]:
    """Return the checkpoints by optimiser step, loaded safely."""
    loaded = [torch.load(path, weights_only=True) for path in (folder / "checkpoints").glob("step=*.ckpt")]
    for nodes in (rank["environments"]["nodes"] for checkpoint in loaded for rank in checkpoint["ranks"]):
        for node in nodes:
            if "episode_times" in node.get("attributes", {}):  # seconds of the clock
                nodes[node["attributes"]["episode_times"][0]]["items"] = []
    return {checkpoint["global_step"]: checkpoint for checkpoint in loaded}


def cut(folder: Path, step: int) -> Path:
    """Remove all checkpoints but that of an optimiser step, and return where it is now."""
    kept = folder / "checkpoints" / "cut.ckpt"
    for path in (folder / "checkpoints").glob("step=*.ckpt"):
        if torch.load(path, weights_only=True)["global_step"] == step:
            path.rename(kept)
        else:
            path.unlink()
    return kept


CLOCK = ("t", "t_start", "episode_times")


def same(first: object, second: object) -> bool:
    """Compare nested states, without the seconds of the clock that monitors write, also as pairs of a dict's items."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first if key not in CLOCK)
    if isinstance(first, list | tuple):
        if len(first) == 2 and isinstance(first[0], str) and first[0] in CLOCK:
            return first[0] == second[0]
        return len(first) == len(second) and all(map(same, first, second))
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second
