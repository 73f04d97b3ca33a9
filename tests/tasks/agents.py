"""What tests of agents share: a cheap environment of images, and quiet trainers."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer

from lightning_coordconv.datamodules.rl import EnvironmentDataModule

TOUCH = "lightning_coordconv/FindAndTouch-v0"
NATURE = "stable_baselines3.common.torch_layers.NatureCNN"
COORDCONV = "lightning_coordconv.models.policies.CoordConvNatureCNN"
POOLED = "lightning_coordconv.models.policies.PooledCNN"


def data(n_envs: int, env_id: str = TOUCH, **arguments: Any) -> EnvironmentDataModule:
    options = {"rollouts_per_epoch": 4, "eval_episodes": 2, "seed": 3} | arguments
    return EnvironmentDataModule(env_id, n_envs, **options)


def trainer(folder: Path, **arguments: Any) -> Trainer:
    options: dict[str, Any] = {"limit_val_batches": 0, "logger": False, "enable_checkpointing": False} | arguments
    return Trainer(
        accelerator="cpu", max_epochs=-1, default_root_dir=folder, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, **options,
    )  # fmt: skip


def weights(module: torch.nn.Module | LightningModule) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def equal(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return len(first) == len(second) and all(map(torch.equal, first, second))
