"""Measures the speed of A2C and of Atari environments beside Stable-Baselines3: ``python -m benchmarks.rl``.

Each arm trains A2C on Pong, with the settings of the shipped recipe, for a few seconds in a new process (or two), one
after the other within a round. The clock runs from the first update to the last, without the start, the ROMs and the
first reset. The table shows the median and the range over rounds.

``--environments`` times only the environments, with random actions.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike

from lightning_coordconv.rl import CoordConvNatureCNN, PolicyArguments
from lightning_coordconv.rl.environments.vector import Backend, find, make
from lightning_coordconv.runtime.malloc import keep_freed_memory

Precision = Literal["32-true", "bf16-mixed"]
BACKENDS: tuple[Backend, ...] = ("sb3", "lean", "ale")
GAME = "PongNoFrameskip-v4"
SKIPPED = 10  # updates before the clock starts
ARGUMENTS: dict[str, Any] = {"ent_coef": 0.01, "vf_coef": 0.25}
POLICY: PolicyArguments = {
    "features_extractor_class": CoordConvNatureCNN,
    "net_arch": [],
    "optimizer_class": RMSpropTFLike,
    "optimizer_kwargs": {"eps": 1e-5},
}

# name: backend, ranks, threads of each, channels last, the trainer's precision; the first is SB3 itself
ARMS: dict[str, tuple[Backend, int, int, bool, Precision]] = {
    "stable-baselines3": ("sb3", 0, 2, False, "32-true"),
    "ours, same mathematics": ("sb3", 1, 2, False, "32-true"),
    "ours, lean": ("lean", 1, 2, False, "32-true"),
    "ours, lean, two ranks": ("lean", 2, 1, True, "32-true"),
    "ours, lean, two ranks, bfloat16": ("lean", 2, 1, True, "bf16-mixed"),
    "ours, ale, two ranks, bfloat16": ("ale", 2, 1, True, "bf16-mixed"),
}


def environments(n_envs: int, steps: int) -> dict[str, float]:
    """Return environment steps a second of CPU time of each backend, all in one process, taking turns."""
    threads = {"num_threads": 1}
    specs = {name: find(GAME, name, threads if name == "ale" else {}, {}) for name in BACKENDS}
    envs = {name: make(spec, n_envs, name, 4) for name, spec in specs.items()}
    for env in envs.values():
        env.seed(0)
        env.reset()
    seconds = dict.fromkeys(envs, 0.0)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        actions = rng.integers(6, size=n_envs)
        for name, env in envs.items():
            start = time.process_time()
            env.step(actions)
            seconds[name] += time.process_time() - start
    return {name: steps * n_envs / taken for name, taken in seconds.items()}


def stable_baselines3_rate(n_envs: int, updates: int, device: str = "cpu") -> float:
    """Return environment steps a second of SB3's ``learn``."""
    from stable_baselines3 import A2C
    from stable_baselines3.common.callbacks import BaseCallback

    class Clock(BaseCallback):
        rollouts, started, ended = 0, 0.0, 0.0

        def _on_rollout_start(self) -> None:
            self.ended = time.perf_counter()
            if self.rollouts == SKIPPED:
                self.started = self.ended
            self.rollouts += 1

        def _on_step(self) -> bool:
            return True

    clock = Clock()
    env = make(find(GAME, "sb3", {}, {}), n_envs, "sb3", 4)
    agent = A2C("CnnPolicy", env, policy_kwargs={**POLICY}, device=device, **ARGUMENTS)
    agent.learn((SKIPPED + updates + 1) * n_envs * 5, callback=clock)
    env.close()
    return updates * n_envs * 5 / (clock.ended - clock.started)


def ours(
    backend: Backend, ranks: int, channels_last: bool, precision: Precision, n_envs: int, updates: int
) -> float | None:
    """Return environment steps a second of all ranks together; None on ranks other than the first."""
    from pytorch_lightning import Callback, LightningModule, Trainer
    from pytorch_lightning.strategies import DDPStrategy

    from lightning_coordconv.rl.algorithms import A2C
    from lightning_coordconv.rl.data import EnvironmentDataModule

    class Clock(Callback):
        started, ended = 0.0, 0.0

        def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
            self.ended = time.perf_counter()
            if trainer.global_step == SKIPPED:
                self.started = self.ended

    keep_freed_memory()  # as the command line does
    clock = Clock()
    arguments = {"num_threads": 1} if backend == "ale" else {}
    data = EnvironmentDataModule(GAME, n_envs, backend, 4, 10**6, env_kwargs=arguments)
    total = (SKIPPED + updates) * n_envs * 5
    task = A2C(total, policy_kwargs=POLICY, channels_last=channels_last, **ARGUMENTS)
    trainer = Trainer(
        accelerator="cpu",
        devices=max(ranks, 1),
        strategy=DDPStrategy(gradient_as_bucket_view=True) if ranks > 1 else "auto",
        precision=precision,
        max_epochs=-1,
        limit_val_batches=0,
        callbacks=[clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(task, data)
    return updates * n_envs * 5 / (clock.ended - clock.started) if trainer.is_global_zero else None


def run(name: str, n_envs: int, updates: int) -> float:
    """Return the rate of an arm, measured in a new process."""
    command = [sys.executable, "-m", "benchmarks.rl", "--arm", name, "--envs", str(n_envs), "--updates", str(updates)]
    environment = os.environ | {"OMP_NUM_THREADS": str(ARMS[name][2])}
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return float(next(line for line in output.splitlines() if line.startswith("rate ")).split()[1])


def table(rates: dict[str, list[float]], unit: str) -> str:
    """Return a table of medians, ranges and ratios to the first, each within its round."""
    first = next(iter(rates.values()))
    lines = [f"| | {unit}, median (range) | times the first, median (range) |", "|---|---:|---:|"]
    for name, values in rates.items():
        ratios = [value / other for value, other in zip(values, first, strict=True)]
        lines.append(
            f"| {name} | {statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f}) | "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the rounds, or one arm."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=60)
    parser.add_argument("--envs", type=int, default=16)
    parser.add_argument("--environments", action="store_true", help="time only the environments")
    parser.add_argument("--save", type=Path, help="a JSON file for the rates")
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.arm:
        backend, ranks, threads, channels_last, precision = ARMS[arguments.arm]
        torch.set_num_threads(threads)
        if ranks:
            rate = ours(backend, ranks, channels_last, precision, arguments.envs, arguments.updates)
        else:
            rate = stable_baselines3_rate(arguments.envs, arguments.updates)
        if rate is not None:
            print("rate", rate)
        return
    rates: dict[str, list[float]] = {name: [] for name in (BACKENDS if arguments.environments else ARMS)}
    for _ in range(arguments.rounds):
        if arguments.environments:
            found = environments(arguments.envs, 100)
        else:
            found = {name: run(name, arguments.envs, arguments.updates) for name in ARMS}
        for name, rate in found.items():
            rates[name].append(rate)
    unit = "environment steps a second" + (" of CPU time" if arguments.environments else "")
    print(table(rates, unit))
    if arguments.save:
        arguments.save.write_text(json.dumps({"unit": unit, "rates": rates}, indent=1) + "\n")


if __name__ == "__main__":
    main()
