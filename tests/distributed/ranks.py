"""Real processes, a rank each, joined by gloo over the loopback interface."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_coordconv.cli import main

ROOT = Path(__file__).parents[2]
DDP = ("--trainer.accelerator=cpu", "--trainer.strategy=ddp")


class Weights(Callback):
    """Writes a rank's weights, and what it was logged, to ``rank<k>.pt`` of a folder."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
        weights = {name: tensor.clone() for name, tensor in pl_module.state_dict().items()}
        torch.save({"weights": weights, "logged": logged}, self.folder / f"rank{trainer.global_rank}.pt")


class Signal(Callback):
    """Sends a signal to its own process within a step, in the first life of the run alone."""

    def __init__(self, number: int, step: int, rank: int = 0) -> None:
        self.number, self.step, self.rank = number, step, rank

    def on_train_batch_start(self, trainer: Trainer, *_: object) -> None:
        first = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
        if first and trainer.global_step == self.step - 1 and trainer.global_rank == self.rank:
            os.kill(os.getpid(), self.number)


class Ranks:
    """Processes that run ``python arguments`` in a folder; what they print goes to ``rank<k>.log`` there."""

    def __init__(self, ranks: int, arguments: list[str], folder: Path, **environment: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        folder.mkdir(parents=True, exist_ok=True)
        self.logs = [folder / f"rank{rank}.log" for rank in range(ranks)]
        shared = os.environ | {
            "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
            "WORLD_SIZE": str(ranks), "NODE_RANK": "0",
        } | environment  # fmt: skip
        self.processes = []
        for rank, log in enumerate(self.logs):
            with log.open("w") as file:
                self.processes.append(
                    subprocess.Popen(
                        [sys.executable, *arguments], cwd=folder, env=shared | {"LOCAL_RANK": str(rank)},
                        stdout=file, stderr=subprocess.STDOUT,
                    )
                )  # fmt: skip

    def wait(self, timeout: float = 300) -> list[int]:
        """Wait for all of them, or stop them, and return their exit codes."""
        try:
            return [process.wait(timeout) for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()
                process.wait()

    def succeed(self) -> None:
        """Wait for all of them, and see that they ended well."""
        codes = self.wait()
        assert not any(codes), "\n".join(log.read_text() for log in self.logs)


def run_all(jobs: list[str]) -> None:
    """Run several command lines in one process: their arguments are separated by a space, they by a ``;``."""
    for job in " ".join(jobs).split(" ; "):
        main(job.split())


if __name__ == "__main__":
    run_all(sys.argv[1:])
