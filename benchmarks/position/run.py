"""Functions that train one arm of a task of the position benchmark with one seed, and write the run's record."""

import json
import logging
import math
import time
import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer

from benchmarks import results
from benchmarks.position.configs import TASKS
from benchmarks.position.task import PositionTask
from lightning_coordconv.core import BaseDataModule
from lightning_coordconv.runtime.malloc import keep_freed_memory

Record = dict[str, Any]


def record_path(task: str, arm: str, seed: int) -> Path:
    return results.RUNS / "position" / f"{task}_{arm}" / f"seed{seed}.json"


def prepare_worker() -> None:
    """Set a process up: one thread, freed memory kept, and no advice on loaders and logs."""
    torch.set_num_threads(1)
    keep_freed_memory()
    for name in ("pytorch_lightning", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")


@lru_cache(maxsize=1)
def make_data(name: str, seed: int) -> BaseDataModule:
    """Return the data of a task, which the arms of a seed share."""
    return TASKS[name].make_data(seed)


def make_module(name: str, arm: str, seed: int) -> PositionTask:
    """Return what is trained. For one seed the weights that all arms have are the same.

    Args:
        name: of the task.
        arm: name of the arm.
        seed: of the weights.
    """
    torch.manual_seed(seed)
    module = TASKS[name].make_module(arm)
    torch.manual_seed(seed)  # the weights of some encodings were drawn too
    return module


def train(name: str, arm: str, seed: int) -> Record:
    """Train, validate and test, and return the record.

    Args:
        name: of the task.
        arm: name of the arm.
        seed: of the data and the weights.
    """
    begin, cpu = time.perf_counter(), time.process_time()
    module, data = make_module(name, arm, seed), make_data(name, seed)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=-1,
        max_steps=TASKS[name].steps,
        limit_val_batches=1.0,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=None,
        val_check_interval=10**9,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)
    torch.manual_seed(seed)  # evaluation draws noise in some tasks
    (validated,) = trainer.validate(module, data, verbose=False)
    (tested,) = trainer.test(module, data, verbose=False)
    return {
        "experiment": f"position/{name}_{arm}",
        "seed": seed,
        "weights": sum(parameter.numel() for parameter in module.parameters()),
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "steps": trainer.global_step,
        "seconds": round(time.perf_counter() - begin, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "validation": _finite(validated),
        "test": _finite(tested),
    }


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return rounded metrics, without those of which there was nothing to measure."""
    return {key: round(value, 6) for key, value in metrics.items() if math.isfinite(value)}


def run(name: str, arm: str, seed: int) -> str:
    """Train and write the record, unless there is one, and return a line about it."""
    path = record_path(name, arm, seed)
    if path.is_file():
        return f"{name} {arm} seed {seed}: done before"
    record = train(name, arm, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record) + "\n")
    value = record["test"][f"test/{TASKS[name].metric}"]
    return f"{name} {arm} seed {seed}: {value:.4f} in {record['cpu_seconds']:.0f} CPU seconds"
