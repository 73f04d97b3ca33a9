"""Trains agents that pool or flatten features, also with CoordConv: ``python -m benchmarks.pooling {list,run,table}``.

The hypothesis: NatureCNN flattens its last map into a linear layer, which has a weight for each position, so
coordinates add nothing to it. A network that pools over all positions cannot know where things are, so there they
must matter.

Four networks: flatten, global mean pool, global max pool, and an Impoola-like residual network with a global mean pool.
Each is trained plain, with coordinates in its first convolution, and with coordinates in the convolution before the
pool, on find-and-touch, on the five games of MinAtar (extra ``minatar``), and on Pong of Atari, where the convolutions
of the first three are NatureCNN's. All train A2C: Pong with the settings of ``configs/rl/a2c_pong_coordconv.yaml``, the
others with those of ``configs/rl/find_and_touch_coordconv.yaml``.

``list`` names the runs and estimates their cost by training each network briefly. ``run`` runs those that have no
record, one after the other, on one thread; started again, it resumes where it was interrupted. ``table`` writes the
table of ``configs/README.md`` from the records.
"""

import argparse
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pytorch_lightning import Trainer
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike

from benchmarks import curves, results, sweep
from benchmarks.pages import fill
from lightning_coordconv.rl import (
    A2C,
    CoordConvNatureCNN,
    EnvironmentDataModule,
    ImpalaCNN,
    PolicyArguments,
    SmallCNN,
)
from lightning_coordconv.rl.classes import class_names

CONFIGS = Path(__file__).parents[1] / "configs" / "rl"
COMMAND = "python -m benchmarks.pooling table"


class Environment(NamedTuple):
    """An environment: Gymnasium's id, environment steps of a run, options of the data, and the config that trains."""

    env_id: str
    steps: int
    options: dict[str, Any]
    config: Path = CONFIGS / "find_and_touch_coordconv.yaml"


GAMES = ("Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders")
ATARI = {"backend": "lean", "frame_stack": 4}
ENVIRONMENTS = {
    "find_and_touch": Environment("lightning_coordconv/FindAndTouch-v0", 300_000, {"env_kwargs": {"size": 24}}),
    **{
        f"minatar_{game.lower()}": Environment(f"lightning_coordconv/MinAtar{game}-v0", 1_000_000, {}) for game in GAMES
    },
    "atari_pong": Environment("PongNoFrameskip-v4", 10_000_000, ATARI, CONFIGS / "a2c_pong_coordconv.yaml"),
}
NETWORKS = ("flatten", "mean", "max", "impoola")
COORDINATES: dict[str, str | list[str]] = {"plain": [], "first": "first", "before_pool": "last"}
PROBE_UPDATES, N_ENVS, N_STEPS = 30, 16, 5


class Run(NamedTuple):
    """One training run of so many environment steps."""

    environment: str
    network: str
    coordinates: str
    seed: int
    steps: int

    @property
    def experiment(self) -> str:
        """Name of the experiment, which its record bears too."""
        return f"rl/pooling_{self.environment}_{self.network}_{self.coordinates}"

    @property
    def policy_kwargs(self) -> PolicyArguments:
        """Arguments of SB3's policy."""
        atari = ENVIRONMENTS[self.environment].options is ATARI
        kind: type[CoordConvNatureCNN | ImpalaCNN | SmallCNN]
        options: dict[str, Any]
        if self.network == "impoola":
            kind, options = ImpalaCNN, {"pool": "mean"} | ({} if atari else {"channels": [8, 16], "features_dim": 64})
        elif atari:
            kind, options = CoordConvNatureCNN, {"pool": self.network}
        else:  # squares of find-and-touch are 3x3 pixels, objects of MinAtar one
            kind, options = SmallCNN, {"pool": self.network, "stride": 3 if self.environment == "find_and_touch" else 1}
        found: PolicyArguments = {
            "features_extractor_class": kind,
            "features_extractor_kwargs": {**options, "where": COORDINATES[self.coordinates]},
            "net_arch": [] if atari else [64],
        }
        if atari:
            found |= {"optimizer_class": RMSpropTFLike, "optimizer_kwargs": {"eps": 1e-5}}
        return found

    def done(self) -> bool:
        """Whether there is a record of at least as many steps."""
        path = results.RUNS / self.experiment / f"seed{self.seed}.json"
        return path.is_file() and json.loads(path.read_text())["curve"][-1]["val/timesteps"] >= self.steps


def train(run: Run, logs: Path) -> int:
    """Train in a process, from its last checkpoint if there is one, keep the record, and return the exit code."""
    environment = ENVIRONMENTS[run.environment]
    options = {"env_id": environment.env_id, **environment.options}
    folder = logs / run.experiment / f"seed{run.seed}"
    last = folder / "checkpoints" / "last.ckpt"
    arguments = [
        f"--data={json.dumps({'class_path': EnvironmentDataModule.__name__, 'init_args': options})}",
        f"--model.total_timesteps={run.steps}",
        f"--model.policy_kwargs={json.dumps(class_names(run.policy_kwargs))}",
        "--trainer.callbacks=[]",
        f"--trainer.logger.init_args.save_dir={logs}",
        f"--trainer.logger.init_args.name={run.experiment}",
        f"--trainer.logger.init_args.version=seed{run.seed}",
        *([f"--ckpt_path={last}"] if last.is_file() else []),
    ]
    code = sweep.run(environment.config, run.seed, 1, arguments, run.experiment.rpartition("/")[2])
    if code == 0:
        results.collect(folder)
    return code


def cpu_seconds(run: Run) -> float:
    """Return an estimate of a run's CPU seconds, without its evaluations, from a few updates."""
    environment = ENVIRONMENTS[run.environment]
    task = A2C(PROBE_UPDATES * N_ENVS * N_STEPS, policy_kwargs=run.policy_kwargs)
    data = EnvironmentDataModule(environment.env_id, N_ENVS, rollouts_per_epoch=10**6, **environment.options)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=-1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    start = time.process_time()
    trainer.fit(task, data)
    return (time.process_time() - start) / task.total_timesteps * run.steps


def listing(runs: list[Run]) -> str:
    """Return a table of the runs of each environment and network, and what they cost on one thread."""
    lines = ["| environment | network | runs | of these done | environment steps | CPU hours, estimated |"]
    lines.append("|---|---|---:|---:|---:|---:|")
    hours = 0.0
    for (environment, network), group in itertools.groupby(runs, key=lambda run: (run.environment, run.network)):
        chosen = list(group)
        cost = cpu_seconds(chosen[0]) * len(chosen) / 3600
        hours += cost
        done, steps = sum(run.done() for run in chosen), chosen[0].steps
        lines.append(f"| {environment} | {network} | {len(chosen)} | {done} | {steps:,} | {cost:.2f} |")
    return "\n".join([*lines, "", f"{len(runs)} runs, {hours:.1f} CPU hours."])


def tables() -> str:
    """Return a table for each environment that has records."""
    parts = []
    for environment in ENVIRONMENTS:
        arms = itertools.product(NETWORKS, COORDINATES)
        names = [Run(environment, *arm, seed=0, steps=0).experiment for arm in arms]
        experiments = {name: results.runs_of(name) for name in names}
        if any(experiments.values()):
            parts += [f"`{environment}`:", curves.table(experiments)]
    return "\n\n".join(parts) or "Not run yet."


def main() -> int:
    """List, run or tabulate, and return 1 if a run failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("list", "run", "table"))
    parser.add_argument("--environments", nargs="+", choices=ENVIRONMENTS, default=list(ENVIRONMENTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(10)))
    parser.add_argument("--steps", type=int, help="environment steps of a run, in place of the default")
    parser.add_argument("--logs", type=Path, default=Path("logs"))
    arguments = parser.parse_args()
    if arguments.command == "table":
        fill(results.PAGE, COMMAND, {"pooling": tables})
        return 0
    runs = [
        Run(environment, network, coordinates, seed, arguments.steps or ENVIRONMENTS[environment].steps)
        for seed in arguments.seeds  # the outer loop: all arms have the same number of seeds, or one more
        for environment, network, coordinates in itertools.product(arguments.environments, NETWORKS, COORDINATES)
    ]
    if arguments.command == "list":
        torch.set_num_threads(1)
        print(listing(sorted(runs)))
        return 0
    codes = [train(run, arguments.logs) for run in runs if not run.done()]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
