"""Measures the speed-up of training in two CPU processes over one, on one machine: ``python -m benchmarks.ddp``.

Each run is a ``fit`` of a shipped config: in one process of one thread, in two that Lightning starts, or two fits of a
process each at the same time, which know nothing of each other and so show what the machine has for two. The three take
turns. With two processes the batch is twice as large, so that each has as much to do as the single one. Each config is
run with its own batch, and with one whose step takes about half a second, which is when one thinks of a second process.
The clock of the first rank runs from the end of one batch to that of a later one, without the start. The table
shows the median and the range, over rounds, of the ratio of samples (or environment steps) a second.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities.data import extract_batch_size

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "ddp-cpu.json"
SKIPPED = 5  # batches before the clock starts


class Case(NamedTuple):
    """The argument that rules the batch of all ranks together, its values for one process, and how ranks are joined."""

    argument: str
    batches: dict[int, int]  # samples of a process in a batch: batches to time
    strategy: tuple[str, ...] = ("--trainer.strategy=ddp",)


CASES = {
    "coordinates/classification_uniform_deconv": Case("data.batch_size", {32: 60, 128: 20, 256: 20}),
    "coordinates/rendering_uniform_deconv": Case("data.batch_size", {16: 60, 256: 20, 512: 20}),
    "classification/digits_coordconv_mixed": Case("data.batch_size", {128: 60, 1024: 20}),
    "detection/proposals_coordconv": Case("data.batch_size", {8: 60, 128: 20}),
    "detection/faster_rcnn_coordconv": Case("data.batch_size", {8: 60, 32: 20}),
    "generative/small_coordconv": Case("data.batch_size", {16: 60, 256: 20}),
    "generative/coordconv": Case("data.batch_size", {16: 5}),
    "rl/a2c_pong_coordconv": Case(
        "data.n_envs",
        {8: 60, 64: 20},
        ("--trainer.strategy=DDPStrategy", "--trainer.strategy.gradient_as_bucket_view=true"),
    ),
}
ROLLOUT = 5  # steps of each environment in a batch of A2C
# ranks of a run, runs at the same time
WAYS = {"one process": (1, 1), "two that do not talk": (1, 2), "two processes": (2, 1)}


class Clock(Callback):
    """Writes samples a second over some optimiser steps to a file, all of them beside those of the other runs.

    Args:
        folder: Where the runs tell each other when they start and end.
        runs: How many there are.
        steps: To time.
    """

    def __init__(self, folder: str, runs: int, steps: int) -> None:
        self.folder = Path(folder)
        self.runs = runs
        self.steps = steps
        self.started = 0.0
        self.samples = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: Any, batch_idx: int
    ) -> None:
        """Start after the first batches, when all runs have had them, and stop when all have had some more."""
        batches = trainer.fit_loop.total_batch_idx + 1
        self.samples += extract_batch_size(batch) * trainer.world_size
        if trainer.is_global_zero and batches == SKIPPED:
            Path(self.folder, f"{os.getpid()}.started").touch()
            while len(list(self.folder.glob("*.started"))) < self.runs:
                time.sleep(0.001)
            self.samples = 0
            self.started = time.perf_counter()
        elif trainer.is_global_zero and batches == SKIPPED + self.steps:
            rate = self.samples / (time.perf_counter() - self.started)
            Path(self.folder, f"{os.getpid()}.rate").write_text(str(rate))
        if batches >= SKIPPED + self.steps:
            trainer.should_stop = self.runs == 1 or len(list(self.folder.glob("*.rate"))) == self.runs


def rate(config: str, batch: int, ranks: int, runs: int) -> float:
    """Return samples (environment steps) a second of all runs together, each process with such a batch."""
    argument, batches, strategy = CASES[config]
    steps = batches[batch]
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "lightning_coordconv", "fit", "-c", config),
            *("--trainer.accelerator=cpu", f"--trainer.devices={ranks}", "--trainer.max_epochs=1000"),
            *strategy * (ranks > 1),
            *("--trainer.limit_val_batches=0", "--trainer.limit_test_batches=0"),
            *("--trainer.num_sanity_val_steps=0", "--trainer.enable_progress_bar=false"),
            *("--figures=false", "--trainer.callbacks=[]"),
            *("--trainer.callbacks+=benchmarks.ddp.Clock", f"--trainer.callbacks.folder={folder}"),
            *(f"--trainer.callbacks.runs={runs}", f"--trainer.callbacks.steps={steps}"),
            f"--{argument}={batch * ranks}",
        ]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        with ExitStack() as stack:
            processes = []
            for run in range(runs):
                cwd, log = Path(folder, str(run)), stack.enter_context(Path(folder, f"{run}.log").open("w"))
                cwd.mkdir()
                process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=log, stderr=subprocess.STDOUT)
                processes.append(stack.enter_context(process))
            while any(process.poll() is None for process in processes):
                if any(process.returncode for process in processes):
                    for process in processes:
                        process.kill()
                time.sleep(0.05)
        rates = [float(path.read_text()) for path in Path(folder).glob("*.rate")]
        if len(rates) < runs:
            logs = "".join(path.read_text()[-4000:] for path in Path(folder).glob("*.log"))
            raise SystemExit(f"{config} with {ranks} ranks failed:\n{logs}")
        return sum(rates)


def table(rates: dict[str, dict[str, dict[str, list[float]]]]) -> str:
    """Return a table: a row a config and batch, the rate of one process, and how many times as much two do."""
    lines = [
        "| config | batch of a process | one process, a second | a step | two that do not talk | two processes |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for config, batches in rates.items():
        for batch, measured in batches.items():
            one, *others = measured.values()
            median = statistics.median(one)
            seconds = int(batch) * (ROLLOUT if CASES[config].argument == "data.n_envs" else 1) / median
            cells = [f"`{config}`", batch, f"{median:,.0f}", f"{1000 * seconds:,.0f} ms"]
            for two in others:
                ratios = [many / alone for many, alone in zip(two, one, strict=True)]
                cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="*", default=list(CASES), help=f"of {', '.join(CASES)}; all by default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--save", action="store_true", help=f"add the rounds to {RESULTS.name}, and show them all")
    arguments = parser.parse_args()
    rates: dict[str, dict[str, dict[str, list[float]]]] = {}
    if arguments.save and RESULTS.exists():
        rates = json.loads(RESULTS.read_text())
    for _ in range(arguments.rounds):
        for config in arguments.configs:
            for batch in CASES[config].batches:
                measured = {way: rate(config, batch, ranks, runs) for way, (ranks, runs) in WAYS.items()}
                for way, samples in measured.items():
                    rates.setdefault(config, {}).setdefault(str(batch), {}).setdefault(way, []).append(samples)
        if arguments.save:
            RESULTS.write_text(json.dumps(rates, indent=1) + "\n")
    print(table(rates))


if __name__ == "__main__":
    main()
