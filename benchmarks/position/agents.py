"""Agents that pool their features: find and touch, whose two plain arms are experiments of ``configs/rl``."""

import json
from pathlib import Path

from benchmarks import results, sweep

CONFIG = "rl/find_and_touch_coordconv"
EXPERIMENTS = {
    "plain": "rl/find_and_touch_conv",
    "first": CONFIG,
    "advised": "position/find_and_touch_advised",
}
"""Experiments by arm. The network has no padding, so the arm with zero padding is the plain one."""
ADVISED = ["cnn.0", "cnn.4"]
"""The first convolution, and the last one before the pool."""


def record_path(arm: str, seed: int) -> Path:
    return results.RUNS / EXPERIMENTS[arm] / f"seed{seed}.json"


def run(arm: str, seed: int, logs: Path = Path("logs")) -> str:
    """Train an arm with one seed by the command line, unless there is a record, and return a line about it.

    Raises:
        RuntimeError: if training fails; its output is in ``logs/sweep``.
    """
    experiment = EXPERIMENTS[arm]
    if record_path(arm, seed).is_file():
        return f"find_and_touch {arm} seed {seed}: done before"
    where = {"plain": [], "first": "first", "advised": ADVISED}[arm]
    arguments = [
        f"--model.policy_kwargs.features_extractor_kwargs={json.dumps({'where': where})}",
        "--trainer.callbacks=[]",
        f"--trainer.logger.init_args.save_dir={logs}",
        f"--trainer.logger.init_args.name={experiment}",
        f"--trainer.logger.init_args.version=seed{seed}",
    ]
    if sweep.run(CONFIG, seed, 1, arguments, experiment.rpartition("/")[2]):
        raise RuntimeError(f"find_and_touch {arm} seed {seed} failed")
    results.collect(logs / experiment / f"seed{seed}")
    return f"find_and_touch {arm} seed {seed}: done"
