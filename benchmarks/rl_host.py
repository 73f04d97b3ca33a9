"""Measures an A2C update's main-thread time in environments and bytes copied: ``python -m benchmarks.rl_host``.

They decide the speed on a GPU, and need none to be measured. Each is measured with the ``ale`` backend and 16, 64 and
256 games.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from benchmarks.rl import ARGUMENTS, GAME, POLICY


class Copies(TorchFunctionMode):
    """Counts the bytes of NumPy arrays that become tensors, and of tensors that become arrays, call by call."""

    def __init__(self) -> None:
        super().__init__()
        self.to_device: list[int] = []
        self.to_host: list[int] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in ("as_tensor", "tensor") and isinstance(args[0], np.ndarray):
            self.to_device.append(args[0].nbytes)
        elif name == "cpu":
            self.to_host.append(args[0].numel() * args[0].element_size())
        return func(*args, **(kwargs or {}))


def host(n_envs: int, updates: int = 6) -> dict[str, float]:
    """Return what an update of A2C costs the host: milliseconds of its main thread, and copies, with their bytes."""
    from pytorch_lightning import Trainer

    from lightning_coordconv.rl import A2C, EnvironmentDataModule

    class Measured(A2C):
        copies = Copies()

        def next_minibatch(self) -> Any:
            with self.copies:
                return super().next_minibatch()

    data = EnvironmentDataModule(GAME, n_envs, "ale", 4, 10**6)
    task = Measured(updates * n_envs * 5, policy_kwargs=POLICY, **ARGUMENTS)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=-1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    seconds: list[float] = []
    data.setup = _timed_setup(data.setup, data, seconds)  # type: ignore[method-assign]
    trainer.fit(task, data)
    copies = task.copies
    return {
        "games": n_envs,
        "milliseconds of the main thread in the environments": 5e3 * statistics.median(seconds),
        "copies to the device": len(copies.to_device) / updates,
        "kilobytes to the device": sum(copies.to_device) / updates / 1e3,
        "copies to the host": len(copies.to_host) / updates,
        "kilobytes to the host": sum(copies.to_host) / updates / 1e3,
    }


def _timed_setup(setup: Any, data: Any, seconds: list[float]) -> Any:
    """Return a data module's setup after which the steps of its training environments are timed."""

    def timed(stage: str) -> None:
        setup(stage)
        wait = data.train_env.step_wait

        def step_wait() -> Any:
            start = time.thread_time()
            result = wait()
            seconds.append(time.thread_time() - start)
            return result

        data.train_env.step_wait = step_wait

    return timed


def main() -> None:
    """Measure, and print a table with a column for each number of games."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--save", type=Path, help="a JSON file for the measurements")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    measured = [host(n_envs) for n_envs in (16, 64, 256)]
    for name in measured[0]:
        print(f"| {' | '.join([name, *(f'{row[name]:,.2f}' for row in measured)])} |")
    if arguments.save:
        arguments.save.write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
