"""Measures detectors' training speed, beside a torchvision loop and with CoordConv: ``python -m benchmarks.detection``.

How many images a second does ``fit`` train, against a plain torchvision training loop over the same batches? Which part
of its time does it wait for data? How much longer is a step with CoordConv? All are compared side by side in one run,
in rounds; results are medians.
"""

import argparse
import logging
import operator
import random
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import cache, partial
from multiprocessing import get_context
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn

from benchmarks.measure import Timing, compare
from lightning_coordconv.detection import (
    DigitFasterRCNN,
    FieldOfMnistDataModule,
    ObjectDetection,
    RegionProposal,
    RegionProposalNet,
)
from lightning_coordconv.detection.region_proposal import PLACES
from lightning_coordconv.runtime.malloc import keep_freed_memory


class Clock(Callback):
    """Note when each batch of an epoch is done."""

    waiting = 0.0
    """Seconds between a batch's end and the next one's start: the loader's, and what the trainer adds."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.last = time.perf_counter()
        self.times = [self.last]

    def on_train_batch_start(self, *_: Any) -> None:
        """Note how long the batch was waited for."""
        self.waiting += time.perf_counter() - self.last

    def on_train_batch_end(self, *_: Any) -> None:
        """Note when the batch was done."""
        self.last = time.perf_counter()
        self.times.append(self.last)


def sgd(groups: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=0.001, momentum=0.9)


def adamw(groups: Any, fused: bool | None = None) -> torch.optim.Optimizer:
    """Build the optimiser of the shipped configs, which is fused there."""
    return torch.optim.AdamW(groups, lr=0.003, weight_decay=0.0001, fused=fused)


def fit(net: nn.Module, data: FieldOfMnistDataModule) -> tuple[list[float], float]:
    """Train an epoch as the command line does; return when batches were done, and the seconds of waiting for them."""
    clock = Clock()
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, limit_val_batches=0, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[clock],
    )  # fmt: skip
    trainer.fit(ObjectDetection(net, optimizer=partial(adamw, fused=True)), data)
    return clock.times, clock.waiting


def plain_loop(net: nn.Module, data: FieldOfMnistDataModule, fused: bool | None = None) -> list[float]:
    """Train an epoch as torchvision's references/detection/engine.py does; return when batches were done."""
    net.train()
    optimizer = adamw([parameter for parameter in net.parameters() if parameter.requires_grad], fused)
    loader = data.train_dataloader()
    times = [time.perf_counter()]
    for batch in loader:
        targets = [
            {"boxes": boxes, "labels": labels} for boxes, labels in zip(batch["boxes"], batch["labels"], strict=True)
        ]
        loss = sum(net(list(batch["image"]), targets).values())
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()}")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter())
    return times


def prepare(threads: int, keep: bool) -> None:
    """Set a process up, with the command line's way with freed memory or without."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    torch.set_num_threads(threads)
    if keep:
        keep_freed_memory()


@cache
def digits(images: int) -> FieldOfMnistDataModule:
    data = FieldOfMnistDataModule(num_images=images, num_eval_images=8, clip=True, batch_size=8)
    data.dataset("train")
    return data


PLAIN = "torchvision's loop"
TUNED = "torchvision's loop, freed memory kept, optimiser fused"


def epoch(name: str, images: int, seed: int) -> tuple[float, float]:
    """Train a new net for an epoch; return the seconds of a batch, and the share of its time that ``fit`` waited.

    The median over batches: now and then something else takes the machine away for a while.
    """
    torch.manual_seed(seed)
    net, data = DigitFasterRCNN(), digits(images)
    times, waiting = fit(net, data) if name == "fit" else (plain_loop(net, data, fused=name == TUNED), 0.0)
    return statistics.median(map(operator.sub, times[1:], times)), waiting / (times[-1] - times[0])


def race(seed: int, rounds: int, images: int, threads: int) -> tuple[dict[str, float], float]:
    """Let new processes, one for each way to train, take turns; return seconds a batch, and the share of waiting.

    What ``fit`` does for memory rules a whole process; a third one gives the plain loop that, and the optimiser that
    the shipped configs have.
    """
    took: dict[str, list[float]] = {"fit": [], PLAIN: [], TUNED: []}
    waiting = []
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(ProcessPoolExecutor(1, get_context("spawn"), prepare, (threads, name != PLAIN)))
            for name in took
        }
        for number in range(rounds + 1):
            for name in random.Random(f"{seed} {number}").sample(list(workers), len(workers)):
                seconds, waited = workers[name].submit(epoch, name, images, seed).result()
                if number:  # the first round warms up
                    took[name].append(seconds)
                if number and name == "fit":
                    waiting.append(waited)
    return {name: statistics.median(times) for name, times in took.items()}, statistics.median(waiting)


def throughput(processes: int, rounds: int, images: int, threads: int) -> None:
    """Compare ``fit`` with the plain loop, in new processes again and again.

    Where a process's memory comes to lie makes it a few hundredths faster or slower for as long as it lives, so that
    many rounds of the same ones agree on a ratio that others do not have.
    """
    races = [race(seed, rounds, images, threads) for seed in range(processes)]
    ours = [took["fit"] for took, _ in races]
    rate = digits(images).batch_size / statistics.median(ours)
    print(f"fit: {rate:.1f} images/s, {processes} times {rounds} rounds of {images} images")
    for name in (PLAIN, TUNED):
        ratios = [took[name] / took["fit"] for took, _ in races]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"fit / {name}, images/s: {middle:.3f} ({low:.3f}-{high:.3f})")
    waited = statistics.median(waited for _, waited in races)
    print(f"waiting for data, the trainer's own time included: {100 * waited:.2f} % of fit")


def step(kind: type[RegionProposal] | type[ObjectDetection], net: nn.Module) -> Callable[[], object]:
    """Return a training step on one batch of 16 images."""
    task = kind(net, optimizer=sgd).train()
    optimizer = sgd(task.parameters())
    data = FieldOfMnistDataModule(num_images=16, num_eval_images=1, clip=True)
    batch = next(iter(data.train_dataloader()))

    def run() -> None:
        optimizer.zero_grad()
        if isinstance(task, ObjectDetection):
            torch.stack(list(task.net(list(batch["image"]), task.targets(batch)).values())).sum().backward()
        else:
            task.evaluate(batch)["loss"].backward()
        optimizer.step()

    return run


def arms(seconds: float) -> dict[str, dict[str, Timing]]:
    """Compare a step with CoordConv to one without, and one without to itself."""
    proposals = {
        "conv": step(RegionProposal, RegionProposalNet(())),
        "conv again": step(RegionProposal, RegionProposalNet(())),
        "coordconv": step(RegionProposal, RegionProposalNet(PLACES)),
    }
    detectors = {
        "conv": step(ObjectDetection, DigitFasterRCNN(coordinates=False)),
        "conv again": step(ObjectDetection, DigitFasterRCNN(coordinates=False)),
        "coordconv": step(ObjectDetection, DigitFasterRCNN(coordinates=True)),
    }
    generator = random.Random(0)
    steps = {"region proposals": proposals, "Faster R-CNN": detectors}
    return {name: compare(group, torch.device("cpu"), seconds, generator) for name, group in steps.items()}


def main() -> None:
    """Measure and print the speed of steps and of ``fit``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processes", type=int, default=20, help="how often fit and the loop have new processes")
    parser.add_argument("--rounds", type=int, default=5, help="of these processes")
    parser.add_argument("--images", type=int, default=160, help="images of a round")
    parser.add_argument("--seconds", type=float, default=60.0, help="to compare the steps of each detector")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    print(f"{arguments.threads} threads of a CPU, torch {torch.__version__}")
    for name, timings in arms(arguments.seconds).items():
        for arm, timing in timings.items():
            print(
                f"{name}, {arm}: {timing.milliseconds:.1f} ms a step, {timing.ratio:.3f} times conv "
                f"({timing.low:.3f}-{timing.high:.3f}), {timing.rounds} rounds"
            )
    throughput(arguments.processes, arguments.rounds, arguments.images, arguments.threads)


if __name__ == "__main__":
    main()
