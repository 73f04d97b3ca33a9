"""Trains and tests the paper's detector, plain and CoordConv, in 8 ways: ``python -m benchmarks.detection_verdict``.

The paper reports 24 % better IoU with CoordConv ("test IOU-select": best-scored box). Which settings its numbers come
from is not recorded, so this grid has each combination of three details of the authors' code, for both arms:

- ``clip``: proposals and true boxes are cut at the border of the image for matching, suppression and IoU;
- ``pairs``: positives are pairs of a proposal and a true box, and negatives are six or none;
- ``same``: the backbone's convolutions are padded.

All else is as the authors' parser has it by default: SGD with momentum, one image a step, five epochs of 9,000 images,
true boxes outside of the image kept and matched. A run takes about 13 minutes of one core. Each run writes a record,
and runs that have one are skipped, so that the command can be stopped and started again.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything

from lightning_coordconv.detection import FieldOfMnistDataModule, RegionProposal, RegionProposalNet, ZeroToOne
from lightning_coordconv.detection.region_proposal import PLACES

RECORDS = Path(__file__).parent / "results" / "detection_verdict"
DETAILS = ("clip", "pairs", "same")
VARIANTS = tuple("+".join(chosen) or "plain" for chosen in (
    [detail for detail, wanted in zip(DETAILS, switches, strict=True) if wanted]
    for switches in product((False, True), repeat=3)
))  # fmt: skip
ARMS = ("conv", "coordconv", "zero_to_one")
"""Plain convolutions, CoordConv, and CoordConv with coordinates from 0 to 1."""
MINUTES = 13
"""Minutes that a run takes on one core."""
COLUMNS = {
    "best_iou": "IoU of the best-scored box",
    "tied_iou": "equal scores in random order",
    "tied_iou_error": "its standard error",
    "closest_iou": "of ten boxes, with the closest digit",
    "all_pairs_iou": "of all pairs",
    "positive_iou": "of sampled positives, in training",
}
"""Metrics of the table, with their headings."""


class Run(NamedTuple):
    """One run of the grid."""

    variant: str
    arm: str
    seed: int

    def record(self, folder: Path) -> Path:
        """Return where its record is."""
        return folder / self.variant / self.arm / f"seed{self.seed}.json"


class EachEpoch(Callback):
    """Keep the metrics of each epoch."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the metrics of training and validation."""
        self.epochs.append({name: value.item() for name, value in trainer.callback_metrics.items()})


def train(run: Run, images: int, eval_images: int, epochs: int) -> dict[str, Any]:
    """Train and test as the authors' code does; return the record of the run."""
    seed_everything(run.seed, verbose=False)
    details = run.variant.split("+")
    net = RegionProposalNet(
        () if run.arm == "conv" else PLACES,
        same_padding="same" in details,
        encoding=ZeroToOne() if run.arm == "zero_to_one" else None,
    )
    task = RegionProposal(
        net,
        match_unseen=True,
        sampling="pairs" if "pairs" in details else "boxes",
        clip="clip" in details,
        optimizer=partial(torch.optim.SGD, lr=0.001, momentum=0.9),
    )
    data = FieldOfMnistDataModule(images, eval_images, keep_outside=True, batch_size=1, eval_batch_size=100)
    history, start = EachEpoch(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            accelerator="cpu", max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, num_sanity_val_steps=0, callbacks=[history], default_root_dir=folder,
        )  # fmt: skip
        trainer.fit(task, data)
        (test,) = trainer.test(task, data, verbose=False)
    return {
        **run._asdict(), "images": images, "eval_images": eval_images, "epochs": history.epochs, "test": test,
        "seconds": time.perf_counter() - start, "torch": torch.__version__,
    }  # fmt: skip


def table(folder: Path) -> str:
    """Return a table of means over the seeds, a row for each variant and arm with records, and the gain of each arm."""
    lines = [
        f"| variant | arm | seeds | {' | '.join(COLUMNS.values())} |",
        "|---|---|---" + "|---:" * len(COLUMNS) + "|",
    ]
    best, gains = {}, {}
    for variant, arm in product(VARIANTS, ARMS):
        records = [json.loads(path.read_text()) for path in sorted((folder / variant / arm).glob("seed*.json"))]
        if not records:
            continue
        values = {name: statistics.mean(measured(record, name) for record in records) for name in COLUMNS}
        seeds = ", ".join(str(record["seed"]) for record in records)
        lines.append(f"| {variant} | {arm} | {seeds} | {' | '.join(f'{value:.3f}' for value in values.values())} |")
        best[variant, arm] = values["best_iou"]
        if arm != "conv" and (variant, "conv") in best:
            gains[f"{variant}, {arm}"] = 100 * (best[variant, arm] / best[variant, "conv"] - 1)
    said = "; ".join(f"{name} {gain:+.1f} %" for name, gain in gains.items())
    return "\n".join(lines + (["", f"Gain in the IoU of the best-scored box: {said}."] if said else []))


def measured(record: dict[str, Any], name: str) -> float:
    """Return a metric of a record: of the test, or of the last epoch of training."""
    value = record["epochs"][-1]["train/positive_iou"] if name == "positive_iou" else record["test"][f"test/{name}"]
    return float(value)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--list", action="store_true", help="print the runs, which of them are done, and the cost")
    action.add_argument("--run", action="store_true", help="make the runs that have no record")
    action.add_argument("--table", action="store_true", help="print the results")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS[:2])
    parser.add_argument("--seeds", type=int, default=2, help="number of seeds, from 0")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no run after this time")
    parser.add_argument("--images", type=int, default=9_000)
    parser.add_argument("--eval-images", type=int, default=1_000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--records", type=Path, default=RECORDS, help="folder of the records")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """List the runs, make them, or print their table."""
    arguments = parse(argv)
    if arguments.table:
        print(table(arguments.records))
        return
    seeds: Sequence[int] = range(arguments.seeds)
    runs = [Run(*choice) for choice in product(arguments.variants, arguments.arms, seeds)]
    left = [run for run in runs if not run.record(arguments.records).exists()]
    if arguments.list:
        for run in runs:
            print(f"{'left' if run in left else 'done'}  {run.variant}  {run.arm}  seed {run.seed}")
        print(f"{len(left)} of {len(runs)} runs are left: about {len(left) * MINUTES / 60:.1f} hours of one core")
        return
    torch.set_num_threads(1)
    start = time.perf_counter()
    for run in left:
        if time.perf_counter() - start > 60 * arguments.minutes:
            break
        record = train(run, arguments.images, arguments.eval_images, arguments.epochs)
        path = run.record(arguments.records)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        unfinished.write_text(json.dumps(record, indent=1))
        unfinished.rename(path)
        print(f"{run.variant} {run.arm} seed {run.seed}: best_iou {record['test']['test/best_iou']:.3f}, "
              f"{record['seconds']:.0f} s", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
