"""Helpers for distributed tests: rank processes, callbacks that record or send signals, faulty data, fixed samples."""

import atexit
import itertools
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.utils.data import Dataset

from lightning_coordconv.coordinates import DeconvDecoder, NotSoClevrDataModule
from lightning_coordconv.detection import RegionProposal
from lightning_coordconv.generative import SortOfClevrDataModule
from lightning_coordconv.runtime.cli import main
from tests.forks import Fork

ROOT = Path(__file__).parents[3]
DDP = ("--trainer.accelerator=cpu", "--trainer.strategy=ddp")


class Weights(Callback):
    """Writes a rank's weights, which of them are parameters, and what was logged, to ``rank<k>.pt`` of a folder."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
        weights = {name: tensor.clone() for name, tensor in pl_module.state_dict().items()}
        names = [name for name, _ in pl_module.named_parameters()]
        torch.save(
            {"weights": weights, "parameters": names, "logged": logged}, self.folder / f"rank{trainer.global_rank}.pt"
        )


class Signal(Callback):
    """Sends a signal to its own process within a step, only in the first life of the run."""

    def __init__(self, number: int, step: int, rank: int = 0) -> None:
        self.number, self.step, self.rank = number, step, rank

    def on_train_batch_start(self, trainer: Trainer, *_: object) -> None:
        first = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
        if first and trainer.global_step == self.step - 1 and trainer.global_rank == self.rank:
            os.kill(os.getpid(), self.number)


class Listening(Callback):
    """Writes the addresses that each rank's process listens on to ``listening<k>.json`` of a folder; only on Linux."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        mine = {os.readlink(file) for file in Path("/proc/self/fd").iterdir() if file.exists()}
        rows = [row.split() for table in ("tcp", "tcp6") for row in Path("/proc/net", table).read_text().splitlines()]
        listening = "0A"
        addresses = [row[1].partition(":")[0] for row in rows if row[3] == listening and f"socket:[{row[9]}]" in mine]
        (self.folder / f"listening{trainer.global_rank}.json").write_text(json.dumps(addresses))


class Threads(Callback):
    """Writes the names of the threads that each rank ends with to ``threads<k>`` of a folder; only on Linux."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        atexit.register(self._write, self.folder.resolve() / f"threads{trainer.global_rank}")

    def _write(self, path: Path) -> None:
        path.write_text("".join(task.read_text() for task in Path("/proc/self/task").glob("*/comm")))


class Broadcasts(Callback):
    """Writes how many broadcasts the third and the fourth batch took to ``broadcasts<k>`` of a folder."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.profile = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        if trainer.current_epoch == 0 and batch_idx == 2:
            self.profile.start()
        if trainer.current_epoch == 0 and batch_idx == 4:
            self.profile.stop()
            count = sum(event.count for event in self.profile.key_averages() if event.key == "c10d::broadcast_")
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / f"broadcasts{trainer.global_rank}").write_text(str(count))


class WithOtherBuffer(DeconvDecoder):
    """The paper's painter with a buffer that is not of its batch norms."""

    def __init__(self, **arguments: object) -> None:
        super().__init__(**arguments)
        self.register_buffer("other", torch.zeros(1), persistent=False)


class Faulty(Dataset):
    """A data set whose loading process dies or hangs when it is asked for its tenth batch."""

    def __init__(self, dataset: Dataset, fault: str) -> None:
        self.dataset, self.fault, self.asked = dataset, fault, 0

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, indices: list[int]) -> object:
        self.asked += 1
        if self.asked == 10:
            os.kill(os.getpid(), signal.SIGKILL) if self.fault == "dies" else time.sleep(600)
        return self.dataset.__getitems__(indices)


class FaultyData(NotSoClevrDataModule):
    """Positions whose training split is :class:`Faulty`; 2 seconds without a batch are too many."""

    worker_timeout = 2.0

    def __init__(self, fault: str, **arguments: object) -> None:
        self.fault = fault
        super().__init__(**arguments)

    def make_dataset(self, split: str) -> Dataset:
        dataset = super().make_dataset(split)
        return Faulty(dataset, self.fault) if split == "train" else dataset


class FixedProposals(RegionProposal):
    """Takes the first positives and negatives of an image where others are drawn at random."""

    def evaluate(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        with mock.patch("lightning_coordconv.detection.matching.torch.rand", _falling):
            return super().evaluate(batch)


def _falling(shape: torch.Size, device: torch.device) -> torch.Tensor:
    """Return numbers that fall along the last axis, in place of random ones: the first places are drawn."""
    return torch.linspace(1.0, 0.5, shape[-1], device=device).expand(shape)


class Ranks:
    """Processes that run ``python arguments`` in a folder; what they print goes to ``rank<k>.log`` there.

    They are forks, or what another function of :mod:`tests.forks` starts.
    """

    def __init__(
        self, ranks: int, arguments: list[str], folder: Path, start: Callable[..., Any] = Fork, **environment: str
    ) -> None:
        self.reserved = socket.socket()  # as long as it is bound, nobody but the ranks gets its port
        self.reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.reserved.bind(("127.0.0.1", 0))
        port = self.reserved.getsockname()[1]
        folder.mkdir(parents=True, exist_ok=True)
        self.logs = [folder / f"rank{rank}.log" for rank in range(ranks)]
        shared = os.environ | {
            "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
            "WORLD_SIZE": str(ranks), "NODE_RANK": "0",
        } | environment  # fmt: skip
        self.processes = [
            start(arguments, folder, shared | {"LOCAL_RANK": str(rank)}, log) for rank, log in enumerate(self.logs)
        ]

    def wait(self, timeout: float = 300) -> list[int]:
        """Wait for all of them, or stop them, and return their exit codes."""
        try:
            return [process.wait(timeout) for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()
                process.wait()
            self.reserved.close()

    def end_with(self, expected: int, timeout: float = 300) -> None:
        """Wait for all of them, and see that each ended with a code."""
        codes = self.wait(timeout)
        assert codes == [expected] * len(codes), f"{codes}\n" + "\n".join(log.read_text() for log in self.logs)


class AllImages(SortOfClevrDataModule):
    """Has a last batch of an epoch that is not full."""

    drop_last = False


def run_all(arguments: list[str]) -> None:
    """Run several command lines in one process; between the arguments of two there is a ``;``."""
    for last, job in itertools.groupby(arguments, ";".__eq__):
        if not last:
            main(list(job))


if __name__ == "__main__":
    run_all(sys.argv[1:])
