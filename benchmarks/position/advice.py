"""Functions that call ``advise`` on a position-benchmark task's network and data, and write and read the advice."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks import results
from benchmarks.position import signals
from benchmarks.position.configs import TASKS
from benchmarks.position.data import GeneratedDataModule
from benchmarks.position.networks import SignalClassifier
from lightning_coordconv.core import BaseDataModule
from lightning_coordconv.position import advise
from lightning_coordconv.rl import A2C, EnvironmentDataModule, PolicyArguments, SmallCNN

IMAGES = {"find_and_touch": 3000}
"""Images that are read where they are not 500: rewards of an agent that acts at random depend mostly on chance."""
FOLDER = results.RUNS.parent / "position_advice"


def subject(name: str) -> tuple[nn.Module, BaseDataModule]:
    """Return the plain network and the data of a task as ``advise`` reads them: 1-D signals as images of one row."""
    if name == "find_and_touch":
        policy: PolicyArguments = {"features_extractor_class": SmallCNN, "features_extractor_kwargs": {"where": []}}
        environments = EnvironmentDataModule("lightning_coordconv/FindAndTouch-v0", env_kwargs={"size": 24}, n_envs=16)
        return A2C(total_timesteps=1, policy_kwargs=policy), environments
    if name == "time_window":
        return SignalClassifier(1, 3, as_rows=True), GeneratedDataModule(signals.events_as_rows, 64, seed=0)
    task = TASKS[name]
    return task.make_module("zero_padding").net, task.make_data(0)


def record(name: str) -> dict[str, Any]:
    """Return the advice on a task, and write it to the folder of results."""
    torch.manual_seed(0)
    advice = advise(*subject(name), num_images=IMAGES.get(name, 500)).to_dict()
    kept = {key: advice[key] for key in ("convert", "where", "encoding", "sentences")}
    FOLDER.mkdir(parents=True, exist_ok=True)
    advice_path(name).write_text(json.dumps(kept, indent=1) + "\n")
    return kept


def advice_path(name: str) -> Path:
    return FOLDER / f"{name}.json"


def read(name: str) -> dict[str, Any] | None:
    """Return the recorded advice on a task; ``None`` where there is none."""
    path = advice_path(name)
    found: dict[str, Any] | None = json.loads(path.read_text()) if path.is_file() else None
    return found
