"""Trains, tests and documents the weights that ship with the package: ``python -m benchmarks.weights``.

It trains four shipped configs with seed 0, about five minutes on one core; a run that is finished is used again. Of
each best checkpoint it writes what predictions need to ``lightning_coordconv/<domain>/weights/``, tests that file with
the same config, and writes the results to ``docs/weights.md``.
"""

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.browser import SEED, best_checkpoint, train
from benchmarks.pages import fill
from lightning_coordconv.core.checkpoints import read_checkpoint
from lightning_coordconv.core.shipped import shipped_weights
from lightning_coordconv.runtime.cli import main as run

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "benchmarks" / "results" / "weights.json"
PAGE = ROOT / "docs" / "weights.md"
COMMAND = "python -m benchmarks.weights"
TRAINING_STATE = {
    "loops", "callbacks", "optimizer_states", "lr_schedulers", "random_state", "training_metrics", "ranks",
}  # fmt: skip
"""Entries of a checkpoint that only resuming needs."""


class Shipped(NamedTuple):
    """Weights that are part of the package.

    Attributes:
        experiment: the config that trains them.
        metric: of the test, by which they are described.
        meaning: of the metric, in words; ``{}`` is its value.
        dtype: of the weights in the file.
    """

    experiment: str
    metric: str
    meaning: str
    dtype: torch.dtype = torch.float32

    @property
    def domain(self) -> str:
        """The package that loads them."""
        return self.experiment.partition("/")[0]


WEIGHTS = {
    "painter": Shipped(
        "coordinates/classification_quadrant_coordconv",
        "test/accuracy",
        "paints the right pixel for a share of {:.3f} of the held-out positions",
    ),
    "regressor": Shipped(
        "coordinates/regression_quadrant_coordconv",
        "test/distance",
        "finds held-out positions with a mean error of {:.4f} pixels",
    ),
    "find_and_touch": Shipped(
        "rl/find_and_touch_coordconv",
        "test/reward",
        "has a mean reward of {:.3f} in 100 episodes; the best possible is 0.89",
    ),
    # Trained in bfloat16, which float16 holds more exactly
    "sort_of_clevr": Shipped(
        "generative/small_coordconv",
        "test/well_formed",
        "paints exactly one whole object of each colour in a share of {:.3f} of 1,000 samples",
        torch.float16,
    ),
}


def shrink(checkpoint: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """Return what predictions need of a checkpoint, with the same tensors where weights share them.

    Args:
        checkpoint: its content.
        dtype: of floating-point weights.
    """
    converted: dict[int, Tensor] = {}
    for weight in checkpoint["state_dict"].values():
        key = weight.data_ptr()
        converted.setdefault(key, weight.to(dtype) if weight.is_floating_point() else weight)
    kept = {key: value for key, value in checkpoint.items() if key not in TRAINING_STATE}
    weights = {name: converted[weight.data_ptr()] for name, weight in checkpoint["state_dict"].items()}
    return {**kept, "state_dict": weights}


def write(name: str, logs: Path) -> dict[str, Any]:
    """Train, write and test weights, and return what the page says about them."""
    shipped = WEIGHTS[name]
    folder = train(shipped.experiment, logs)
    path = ROOT / "lightning_coordconv" / shipped.domain / "weights" / f"{name}.ckpt"
    path.parent.mkdir(exist_ok=True)
    torch.save(shrink(read_checkpoint(best_checkpoint(folder)), shipped.dtype), path)
    summary = json.loads((folder / "summary.json").read_text())
    return {
        "experiment": shipped.experiment,
        "seed": SEED,
        "weights": summary["weights"],
        "bytes": path.stat().st_size,
        "cpu_seconds": round(summary["cpu_seconds"]),
        "metric": shipped.metric,
        "value": measure(name, logs),
    }


def measure(name: str, logs: Path) -> float:
    """Return the metric of shipped weights in a test with their config."""
    shipped = WEIGHTS[name]
    version = f"{name}_test"
    logger = ["--trainer.logger.init_args.save_dir", str(logs), "--trainer.logger.init_args.version", version]
    seed = ["--seed_everything", str(SEED)]
    run(["test", "-c", shipped.experiment, "--ckpt_path", name, *seed, "--figures", "false", *logger])
    summary = json.loads((logs / shipped.experiment / version / "summary.json").read_text())
    return float(summary["test"][shipped.metric])


def entries() -> str:
    """Return a list of all weights, and their size together."""
    lines = []
    for name, row in json.loads(RECORD.read_text()).items():
        shipped = WEIGHTS[name]
        call, result = f'`{shipped.domain}.load("{name}")`', shipped.meaning.format(row["value"])
        size = f"{row['weights']:,} parameters, {row['bytes'] / 1000:.1f} kB"
        lines.append(f"- {call} {result}. {size}; `{row['experiment']}`, {row['cpu_seconds']} s of one core.")
    total = sum(path.stat().st_size for path in shipped_weights().values())
    return "\n".join([*lines, "", f"Together {total / 1000:.0f} kB."])


def main() -> None:
    """Write the weights, the record and the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--logs", type=Path, default=Path("logs"), help="folder of the runs (default: logs)")
    logs = parser.parse_args().logs
    torch.set_num_threads(1)
    RECORD.write_text(json.dumps({name: write(name, logs) for name in WEIGHTS}, indent=2) + "\n")
    fill(PAGE, COMMAND, {"weights": entries})


if __name__ == "__main__":
    main()
