"""Functions that train an agent of the position benchmark, which moves a hand to an object, and locate its record."""

from pathlib import Path

from benchmarks import results, sweep

EXPERIMENTS = {
    "plain": "rl/find_and_touch_conv",
    "first": "rl/find_and_touch_coordconv",
    "advised": "rl/find_and_touch_coordconv_advised",
}
"""Experiments by arm. The network has no padding, so that there is one plain arm."""


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
    arguments = [
        "--trainer.callbacks=[]",
        f"--trainer.logger.init_args.save_dir={logs}",
        f"--trainer.logger.init_args.name={experiment}",
        f"--trainer.logger.init_args.version=seed{seed}",
    ]
    if sweep.run(experiment, seed, 1, arguments, f"position_{arm}"):
        raise RuntimeError(f"find_and_touch {arm} seed {seed} failed")
    results.collect(logs / experiment / f"seed{seed}")
    return f"find_and_touch {arm} seed {seed}: done"
