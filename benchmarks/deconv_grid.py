"""Looks for the best deconvolution of the paper's grid by successive halving: ``python -m benchmarks.deconv_grid``.

The paper's baseline in coordinate classification is the best of 324 runs of 1,000 epochs on each partition: 86 % of the
held-out positions of the uniform one, at most. Successive halving spends less: 24 points of that grid, drawn at random,
train 10 epochs; the best third train from the start 30 epochs, the best third of these 90, and the best of these 200. A
run of each length has one cycle of the learning rate, which rises to that of its point and falls to 0. As in the paper,
the held-out positions choose the point, and the epoch of its network.

About three hours of one core. Each run writes a record, and runs that have one are skipped, so that the command can be
stopped and started again.
"""

import argparse
import json
import math
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything

from lightning_coordconv.coordinates import CoordinateClassification, DeconvDecoder, NotSoClevrDataModule
from lightning_coordconv.coordinates.dataset import Partition

RECORDS = Path(__file__).parent / "results" / "deconv_grid"
GRID = {
    "lr": (0.001, 0.002, 0.005, 0.01, 0.02, 0.05),
    "l2": (0.0, 0.001, 0.01),
    "filter_size": (2, 3, 4),
    "mul": (1, 2, 3),
    "batch_size": (16, 32),
}
"""The paper's grid, as the authors' script of their experiments has it."""
RUNGS = {10: 24, 30: 8, 90: 3, 200: 1}
"""Number of points that train so many epochs."""
VALIDATIONS = 10
"""Validations of a run."""


class Point(NamedTuple):
    """One point of the grid."""

    lr: float
    l2: float
    filter_size: int
    mul: int
    batch_size: int

    def record(self, folder: Path, epochs: int) -> Path:
        """Return where the record of its run of so many epochs is."""
        return (
            folder
            / f"{epochs}_epochs"
            / f"{'-'.join(f'{name}{value:g}' for name, value in self._asdict().items())}.json"
        )


class BestAccuracy(Callback):
    """Keep the best accuracy of a validation."""

    def __init__(self) -> None:
        self.best = 0.0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the last accuracy with the best."""
        self.best = max(self.best, trainer.callback_metrics["val/accuracy"].item())


def draw(number: int) -> list[Point]:
    """Return points of the grid at random, the same in each call."""
    points = [Point(*values) for values in product(*GRID.values())]  # type: ignore[arg-type]
    return random.Random(0).sample(points, number)


def train(point: Point, epochs: int, partition: Partition) -> dict[str, Any]:
    """Train one point; return its record, with the best accuracy on held-out positions and the CPU seconds."""
    seed_everything(0, verbose=False)
    data = NotSoClevrDataModule(partition=partition, batch_size=point.batch_size, eval_batch_size=256)
    data.setup("fit")
    steps = epochs * len(data.train_dataloader())
    task = CoordinateClassification(
        DeconvDecoder(filter_size=point.filter_size, mul=point.mul),
        # the authors' penalty is l2 times the sum of squares, whose gradient is twice that of torch's weight decay
        partial(torch.optim.Adam, lr=point.lr, betas=(0.9, 0.99), weight_decay=2 * point.l2),
        partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=point.lr, total_steps=steps, cycle_momentum=False),
        lr_scheduler_interval="step",
    )
    accuracy, start = BestAccuracy(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            accelerator="cpu", max_epochs=epochs, check_val_every_n_epoch=math.ceil(epochs / VALIDATIONS), logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
            callbacks=[accuracy], default_root_dir=folder,
        )  # fmt: skip
        trainer.fit(task, data)
    return {
        **point._asdict(), "epochs": epochs, "partition": partition, "steps": trainer.global_step,
        "weights": sum(weight.numel() for weight in task.net.parameters()), "accuracy": accuracy.best,
        "cpu_seconds": round(time.process_time() - start, 1),
    }  # fmt: skip


def halve(folder: Path, measure: Callable[[Point, int], dict[str, Any]] | None) -> list[list[dict[str, Any]]]:
    """Return the records of each rung, best first; make those that are missing.

    Args:
        folder: of the records.
        measure: trains a point for a number of epochs and returns its record; ``None`` to end with the first rung
            that has not all records, with those that it has.
    """
    rungs: list[list[dict[str, Any]]] = []
    points = draw(max(RUNGS.values()))
    for epochs, number in RUNGS.items():
        records = []
        for point in points[:number]:
            path = point.record(folder, epochs)
            if not path.exists():
                if measure is None:
                    continue
                record = measure(point, epochs)
                path.parent.mkdir(parents=True, exist_ok=True)
                unfinished = path.with_suffix(".part")
                unfinished.write_text(json.dumps(record) + "\n")
                unfinished.rename(path)
                print(f"{epochs} epochs, {point}: {record['accuracy']:.3f}, {record['cpu_seconds']:.0f} s", flush=True)
            records.append(json.loads(path.read_text()))
        rungs += [sorted(records, key=lambda record: record["accuracy"], reverse=True)] if records else []
        if len(records) < number:
            break
        points = [Point(*(record[name] for name in Point._fields)) for record in rungs[-1]]
    return rungs


def table(folder: Path) -> str:
    """Return a table with the best three points of each rung."""
    lines = [
        "| epochs | points | " + " | ".join(GRID) + " | weights | held-out accuracy | CPU seconds of all its points |",
        "|---:" * (len(GRID) + 5) + "|",
    ]
    for rung in halve(folder, None):
        for place, record in enumerate(rung[:3]):
            number = RUNGS[record["epochs"]]
            points = f"{len(rung)}" if len(rung) == number else f"{len(rung)} of {number}"
            lines.append(
                f"| {record['epochs']} | {points if place == 0 else ''} | "
                + " | ".join(f"{record[name]:g}" for name in GRID)
                + f" | {record['weights']:,} | {record['accuracy']:.3f} | "
                + (f"{sum(other['cpu_seconds'] for other in rung):,.0f} |" if place == 0 else "|")
            )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Make the runs that have no record, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--partition", choices=("uniform", "quadrant"), default="uniform")
    parser.add_argument("--table", action="store_true", help="print the table of the runs that are there")
    parser.add_argument("--records", type=Path, default=RECORDS, help="folder of the records")
    arguments = parser.parse_args(argv)
    folder = arguments.records / arguments.partition
    if not arguments.table:
        torch.set_num_threads(1)
        halve(folder, partial(train, partition=arguments.partition))
    print(table(folder))


if __name__ == "__main__":
    main()
