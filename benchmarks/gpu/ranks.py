"""Functions that time training on one GPU and on two, with the same number of samples for each rank."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.gpu.parts import NotPossibleError, Row, Setting

EXPERIMENT = "coordinates/classification_uniform_deconv"
ROOT = Path(__file__).parents[2]


def runs(setting: Setting) -> Iterator[Row]:
    """Train for some steps on one rank and on two, each rank with the same number of samples."""
    if setting.device.type == "cuda" and torch.cuda.device_count() < 2:
        raise NotPossibleError("there is one card")
    for ranks in (1, 2):
        yield run(setting, ranks, steps=4 if setting.small else 200, batch_size=32)


def run(setting: Setting, ranks: int, steps: int, batch_size: int) -> Row:
    """Train on a number of ranks in new processes."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "lightning_coordconv", "fit", "-c", EXPERIMENT),
            *(f"--trainer.accelerator={setting.accelerator}", f"--trainer.devices={ranks}"),
            *("--trainer.max_epochs=-1", f"--trainer.max_steps={steps}", f"--data.batch_size={batch_size * ranks}"),
            *("--trainer.limit_val_batches=0", "--trainer.limit_test_batches=0", "--trainer.num_sanity_val_steps=0"),
            *("--trainer.enable_progress_bar=false", *("--trainer.strategy=ddp",) * (ranks > 1)),
        ]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if process.returncode:
            raise RuntimeError(f"{ranks} ranks failed:\n{process.stdout[-2000:]}\n{process.stderr[-2000:]}")
        (path,) = Path(folder).rglob("summary.json")
        summary = json.loads(path.read_text())
    samples = steps * batch_size * ranks
    backend = "nccl" if setting.device.type == "cuda" else "gloo"
    return {
        "backend": backend,
        "ranks": summary["ranks"],
        "steps": summary["steps"],
        "seconds": summary["seconds"],
        "samples_a_second": samples / summary["seconds"],
    }
