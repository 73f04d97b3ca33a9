"""How much two processes do in the time of one, on one machine: ``python -m benchmarks.ddp``.

Each run is a ``fit`` of a shipped config, in one process of one thread or in two that Lightning starts; the two take
turns. With two the batch is twice as large, so that each process has as much to do as the one alone. Each config is run
with its own batch, and with one whose step takes some tenths of a second, which is when one thinks of a second process.
The clock of the first rank runs from the end of one batch to that of a later one, without the start. What is told is
the median and the range, over rounds, of the ratio of samples (or environment steps) a second.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from pytorch_lightning import Callback, LightningModule, Trainer

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "ddp-cpu.json"
SKIPPED = 5  # batches before the clock starts


class Case(NamedTuple):
    """A config, the argument that rules the batch of all ranks together, its values for one process, and batches."""

    argument: str
    batches: dict[int, int]  # samples of a process in a batch: batches to time


CASES = {
    "coordinates/classification_uniform_deconv": Case("data.batch_size", {32: 60, 128: 20}),
    "coordinates/rendering_uniform_deconv": Case("data.batch_size", {16: 60, 128: 20}),
    "classification/digits_mixed_coordconv": Case("data.batch_size", {128: 60, 512: 20}),
    "detection/proposals_coordconv": Case("data.batch_size", {8: 60, 64: 20}),
    "detection/faster_rcnn_coordconv": Case("data.batch_size", {8: 60, 32: 20}),
    "gan/small_coordconv": Case("data.batch_size", {16: 60, 128: 15}),
    "gan/coordconv": Case("data.batch_size", {16: 5}),
    "rl/a2c_pong_coordconv": Case("data.n_envs", {8: 60, 32: 20}),
}
ROLLOUT = 5  # steps of each environment in a batch of A2C


class Clock(Callback):
    """Writes the seconds that some optimiser steps take to a file."""

    def __init__(self, path: str, steps: int) -> None:
        self.path = Path(path)
        self.steps = steps
        self.started = 0.0

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        """Start after the first batches, and stop the run some batches later."""
        batches = trainer.fit_loop.total_batch_idx + 1
        if batches == SKIPPED:
            self.started = time.perf_counter()
        elif batches == SKIPPED + self.steps:
            seconds = time.perf_counter() - self.started
            if trainer.is_global_zero:
                self.path.write_text(str(seconds))
            trainer.should_stop = True


def rate(config: str, batch: int, ranks: int) -> float:
    """Return samples (environment steps) a second of a run in processes of its own, each with such a batch."""
    argument, steps = CASES[config].argument, CASES[config].batches[batch]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "seconds")
        command = [
            *(
                sys.executable,
                "-m",
                "lightning_coordconv",
                "fit",
                "-c",
                str(Path("configs", config).resolve()) + ".yaml",
            ),
            *("--trainer.accelerator=cpu", f"--trainer.devices={ranks}", "--trainer.max_epochs=1000"),
            *("--trainer.strategy=ddp",) * (ranks > 1),
            *("--trainer.limit_val_batches=0", "--trainer.limit_test_batches=0"),
            f"--trainer.limit_train_batches={SKIPPED + steps}",  # a run stops at the end of an epoch
            *("--trainer.num_sanity_val_steps=0", "--trainer.enable_progress_bar=false", "--trainer.callbacks=[]"),
            *("--trainer.callbacks+=benchmarks.ddp.Clock", f"--trainer.callbacks.path={path}"),
            *(f"--trainer.callbacks.steps={steps}", f"--{argument}={batch * ranks}"),
        ]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if not path.exists():
            raise SystemExit(f"{config} with {ranks} ranks failed:\n{result.stdout[-2000:]}\n{result.stderr[-4000:]}")
        samples = steps * batch * ranks * (ROLLOUT if argument == "data.n_envs" else 1)
        return samples / float(path.read_text())


def table(rates: dict[str, dict[str, dict[str, list[float]]]]) -> str:
    """Return a table: a row a config and batch, the rate of one process, and how many times as much two do."""
    lines = [
        "| config | batch of a process | one process, a second | a step | two processes |",
        "|---|---:|---:|---:|---:|",
    ]
    for config, batches in rates.items():
        for batch, measured in batches.items():
            one, two = measured.values()
            ratios = [many / alone for many, alone in zip(two, one, strict=True)]
            median = statistics.median(one)
            seconds = int(batch) * (ROLLOUT if CASES[config].argument == "data.n_envs" else 1) / median
            lines.append(
                f"| `{config}` | {batch} | {median:,.0f} | {1000 * seconds:,.0f} ms "
                f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |"
            )
    return "\n".join(lines)


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="*", default=list(CASES), help=f"of {', '.join(CASES)}; all by default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name}")
    arguments = parser.parse_args()
    rates: dict[str, dict[str, dict[str, list[float]]]] = {
        config: {str(batch): {"one process": [], "two processes": []} for batch in CASES[config].batches}
        for config in arguments.configs
    }
    for _ in range(arguments.rounds):
        for config, batches in rates.items():
            for batch, measured in batches.items():
                for ranks, rounds in enumerate(measured.values(), start=1):
                    rounds.append(rate(config, int(batch), ranks))
    print(table(rates))
    if arguments.save:
        RESULTS.write_text(json.dumps(rates, indent=1) + "\n")


if __name__ == "__main__":
    main()
