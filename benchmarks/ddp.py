"""How much two processes do in the time of one, on one machine: ``python -m benchmarks.ddp``.

Each run is a ``fit`` of a shipped config, in one process of one thread or in two that Lightning starts; the two take
turns. With two, the batch is once twice as large, so that each process has as much to do as the one alone, and once the
same. The clock of the first rank runs from the end of one batch to that of a later one, without the start. What is told
is the median and the range, over rounds, of the ratio of samples (or environment steps) a second.
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

from pytorch_lightning import Callback, LightningModule, Trainer

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "ddp-cpu.json"
SKIPPED = 10  # batches before the clock starts

# config: the argument that rules the batch of all ranks together, its value for one process, and batches to time
CASES: dict[str, tuple[str, int, int]] = {
    "coordinates/classification_uniform_deconv": ("data.batch_size", 32, 40),
    "coordinates/rendering_uniform_coordconv": ("data.batch_size", 4, 80),
    "detection/proposals_coordconv": ("data.batch_size", 8, 60),
    "gan/small_coordconv": ("data.batch_size", 16, 60),
    "gan/small_vae_coordconv": ("data.batch_size", 32, 60),
    "classification/digits_mixed_coordconv": ("data.batch_size", 128, 40),
    "rl/a2c_pong_coordconv": ("data.n_envs", 8, 40),
}
ROLLOUT = 5  # steps of each environment in a batch of A2C
ARMS = {"one process": (1, 1), "two, twice the batch": (2, 2), "two, the same batch": (2, 1)}


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


def rate(config: str, ranks: int, factor: int) -> float:
    """Return samples (environment steps) a second of a run in processes of its own."""
    argument, batch, steps = CASES[config]
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
            *(f"--trainer.callbacks.steps={steps}", f"--{argument}={batch * factor}"),
        ]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if not path.exists():
            raise SystemExit(f"{config} with {ranks} ranks failed:\n{result.stdout[-2000:]}\n{result.stderr[-4000:]}")
        samples = steps * batch * factor * (ROLLOUT if argument == "data.n_envs" else 1)
        return samples / float(path.read_text())


def table(rates: dict[str, dict[str, list[float]]]) -> str:
    """Return a table, a row a config, of rates of one process and how many times that two processes do."""
    alone, *others = ARMS
    lines = [f"| config | {alone}, a second | {' | '.join(others)} |", "|---|---:|" + "---:|" * len(others)]
    for config, arms in rates.items():
        cells = [f"{statistics.median(arms[alone]):,.0f}"]
        for name in others:
            ratios = [many / one for many, one in zip(arms[name], arms[alone], strict=True)]
            cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        lines.append(f"| `{config}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="*", default=list(CASES), help=f"of {', '.join(CASES)}; all by default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name}")
    arguments = parser.parse_args()
    rates: dict[str, dict[str, list[float]]] = {config: {name: [] for name in ARMS} for config in arguments.configs}
    for _ in range(arguments.rounds):
        for config, arms in rates.items():
            for name, (ranks, factor) in ARMS.items():
                arms[name].append(rate(config, ranks, factor))
    print(table(rates))
    if arguments.save:
        RESULTS.write_text(json.dumps(rates, indent=1) + "\n")


if __name__ == "__main__":
    main()
